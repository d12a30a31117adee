"""The designs by name: each builds a map and a space, and makes pipes over them."""

from __future__ import annotations

import pytest

from coalloc import ERAS, MiB, PipeSystem, SimClock
from coalloc.designs import DESIGNS, find_designs
from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import StreamsState


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_makes_pipes_over_its_own_space(name: str) -> None:
    """A design makes pipes over its space, in the given era or by its own kernel's policy, with a given clock."""
    design, clock = DESIGNS[name], SimClock(5)
    bench = design.build(ERAS["current"], 16 * MiB)
    for pipes in (
        design.pipes(ERAS["current"], bench.space, 16 * MiB),
        design.pipes(ERAS["current"], bench.space, 16 * MiB, clock),
    ):
        pipe = pipes.pipe()
        assert pipe.write(1, 5000) == 5000
        assert pipe.read(0, 9000) == 5000
    assert pipes.clock is clock
    assert bench.space.stats().live > 0 or isinstance(design.state, StreamsState)  # whose blocks go when they are read
    bench.space.check()
    assert (design.state is None) is (isinstance(pipes, PipeSystem) and pipes.era is ERAS["current"])
    assert design.one_by_one is (bench.space.stats().mapped == bench.space.stats().live)


def test_designs_are_found_by_name() -> None:
    """Designs are found by name in the order of the list, offered ones too; unknown, repeated or no names are refused."""
    assert [design.name for design in find_designs("vmem, per-pipe")] == ["vmem", "per-pipe"]
    assert [design.name for design in find_designs("next-fit")] == ["next-fit"]  # an installed package offers it
    for names in ("", "heap", "vmem,vmem"):
        with pytest.raises(InvalidRequestError, match="designs"):
            find_designs(names)
    with pytest.raises(InvalidRequestError, match="limit"):
        DESIGNS["vmem"].build(ERAS["2006"], 100)
