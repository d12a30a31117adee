"""What runners see of pipes: one declared surface, whichever kernel is behind it."""

from __future__ import annotations

import pytest

from coalloc import DESIGNS, ERAS, MiB
from coalloc.pipes.design import Design
from coalloc.pipes.protocol import Pipes


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: design.name)
def test_every_design_has_a_machine_that_tells_the_same_things(design: Design) -> None:
    """A pipe is written, read and closed; the machine tells the bytes held, and holds none at the end."""
    era = ERAS["current"]
    machine: Pipes = design.pipes(era, design.build(era, MiB).space, MiB)
    pipe = machine.pipe()
    assert pipe.write(1, 5000) == 5000
    assert (pipe.buffered(0), pipe.buffered(1), pipe.wakes_writer(1)) == (5000, 0, True)
    assert machine.kva_used == machine.counters().kva_used >= 5000
    assert pipe.read(0, 6000) == 5000
    assert not pipe.finished
    pipe.close(1)
    assert not pipe.finished
    pipe.close(0)
    assert pipe.finished
    counters = machine.counters()
    assert (counters.pipes, counters.bytes_written, counters.bytes_read) == (0, 5000, 5000)
    assert (machine.kva_used, machine.peak_kva_used) == (0, counters.peak_kva_used)
    assert (list(machine.console_lines), machine.clock.now, machine.violations()) == ([], 0, ())
    machine.check()
