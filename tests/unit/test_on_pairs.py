"""Two TARGETs side by side, with children that are threads: pieces, what does not return, interrupts, vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoallocError
from coalloc.testing import CheckProgram, World, on_pairs
from coalloc.testing.differ import Differed, Ignore
from coalloc.testing.isolate import Stopped, crew, run_in_child
from coalloc.testing.on_pairs import diff_targets, replay_vectors_on
from tests.unit.test_vectors import SPANS, vectors

TARGET = "tests.unit.allocators:{}".format
PLAIN = TARGET("Plain")
BRIEF = 0.05

pytestmark = pytest.mark.usefixtures("in_process")


def test_programs_are_run_in_pieces_whoever_runs_them() -> None:
    """The result is that of the program with the lowest number; the programs so far are told."""
    told: list[int] = []
    alike = diff_targets(PLAIN, PLAIN, programs=40, figures=True, progress=told.append)
    assert (alike.programs, alike.difference, told) == (40, None, [16, 32, 40])
    alone = diff_targets("vmem", "vmem-bestfit")
    assert alone.difference is not None
    with crew(2) as executor:
        assert diff_targets("vmem", "vmem-bestfit", executor=executor) == alone
    again = diff_targets("vmem", "vmem-bestfit", programs=alone.difference.program)
    assert (again.programs, again.difference) == (1, alone.difference)
    less = diff_targets("vmem", "vmem", programs=64, seconds=1e-9, ignore=frozenset([Ignore.ORDER]))
    assert less.programs == 16


def test_one_that_does_not_return_differs_from_one_that_does() -> None:
    """The program is told step by step, with who did not return; it is not made short."""
    found = diff_targets(PLAIN, TARGET("Hangs"), timeout=BRIEF).difference
    assert found is not None
    assert found.answers[0] == "it returns"
    assert "nothing has come back" in found.answers[1]
    assert found.what == str(found.program.steps[-1])
    first = diff_targets(TARGET("Hangs"), PLAIN, timeout=BRIEF).difference
    assert first is not None
    assert first.answers[1] == "not asked any more"
    unmade = diff_targets(TARGET("HangsUnmade"), PLAIN, timeout=BRIEF).difference
    assert unmade is not None
    assert (unmade.what, unmade.program) == ("when they are made", CheckProgram(World(), ()))


def test_one_that_hangs_once_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it returns when it is run again, that run counts."""
    real = run_in_child

    def once(work: Callable[..., object], _target: str, arguments: Any, **named: Any) -> Any:
        return real(work, PLAIN if arguments["watch"] else TARGET("Hangs"), arguments, **named)

    monkeypatch.setattr(on_pairs, "run_in_child", once)
    assert diff_targets(PLAIN, PLAIN, programs=3, timeout=BRIEF).programs == 3


def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces, or within one, what was compared until then is returned, and that it was interrupted."""

    def interrupt(_programs: int) -> None:
        raise KeyboardInterrupt

    between = diff_targets(PLAIN, PLAIN, progress=interrupt)
    assert (between.programs, between.interrupted) == (16, True)

    def stopped(*_: object, **__: object) -> Any:
        raise Stopped

    monkeypatch.setattr(on_pairs, "run_in_child", stopped)
    assert diff_targets(PLAIN, PLAIN) == Differed(0, 0, interrupted=True)


def test_vectors_are_replayed_in_a_child() -> None:
    """What the replay finds comes back; a process that hangs is an error in one line."""
    (vector,) = read = vectors(SPANS)
    assert replay_vectors_on("vmem", read).agrees
    with pytest.raises(CoallocError, match="HangsUnmade: nothing has come back"):
        replay_vectors_on(TARGET("HangsUnmade"), [attrs.evolve(vector, qcache_max=0)], timeout=BRIEF)
