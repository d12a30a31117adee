"""Two TARGETs side by side, with children that are threads: pieces, what does not return, interrupts, vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc.testing import Action, CheckProgram, Step, World, on_pairs
from coalloc.testing.differ import Differed, Ignore
from coalloc.testing.isolate import Stopped, crew, run_in_child
from coalloc.testing.on_pairs import diff_targets, n_pieces, replay_vectors_on
from tests.unit.test_vectors import SPANS, vectors

TARGET = "tests.unit.allocators:{}".format
PLAIN = TARGET("Plain")
BRIEF = 0.05

pytestmark = pytest.mark.usefixtures("in_process")


def test_programs_are_run_in_pieces_whoever_runs_them() -> None:
    """The result is that of the program with the lowest number; the programs so far are told."""
    told: list[int] = []
    alike = diff_targets(PLAIN, PLAIN, programs=40, figures=True, progress=told.append)
    assert (alike.difference, told, n_pieces(40)) == (None, [1, 2, 3, 4], 4)
    assert alike.programs > 40
    alone = diff_targets("vmem", "vmem-bestfit")
    assert alone.difference is not None
    with crew(2) as executor:
        assert diff_targets("vmem", "vmem-bestfit", executor=executor) == alone
    again = diff_targets("vmem", "vmem-bestfit", programs=alone.difference.program)
    assert (again.programs, again.difference) == (1, alone.difference)
    less = diff_targets("vmem", "vmem", programs=64, seconds=1e-9, ignore=frozenset([Ignore.ORDER]))
    assert (less.stopped, less.difference) == ("time was up (--seconds)", None)


def test_one_that_does_not_return_differs_from_one_that_does() -> None:
    """The program is told step by step, with who did not return; two that do not return are alike."""
    found = diff_targets(PLAIN, TARGET("Hangs"), timeout=BRIEF).difference
    assert found is not None
    assert found.answers[0] == "it returns"
    assert "nothing has come back" in found.answers[1]
    assert found.what == str(found.program.steps[-1])
    first = diff_targets(TARGET("Hangs"), PLAIN, timeout=BRIEF).difference
    assert first is not None
    assert first.answers[1] == "it returns"
    assert len(first.program.steps) <= 3
    both = diff_targets(TARGET("Hangs"), TARGET("Hangs"), timeout=BRIEF)
    assert (both.difference, both.ended, both.stopped) == (None, 1, "neither comes back from it")
    unmade = diff_targets(TARGET("HangsUnmade"), PLAIN, timeout=BRIEF).difference
    assert unmade is not None
    assert (unmade.what, unmade.program) == ("when they are made", CheckProgram(World(), ()))


def test_one_that_hangs_once_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it returns when it is run again, that run counts."""
    real = run_in_child

    def once(work: Callable[..., object], _target: str, arguments: Any, **named: Any) -> Any:
        return real(work, PLAIN if arguments["watch"] else TARGET("Hangs"), arguments, **named)

    monkeypatch.setattr(on_pairs, "run_in_child", once)
    alone = CheckProgram(World(limit=2, room=2), (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0)))
    assert diff_targets(PLAIN, PLAIN, programs=alone, timeout=BRIEF).difference is None


def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces, or within one, what was compared until then is returned, and that it was interrupted."""

    def interrupt(_programs: int) -> None:
        raise KeyboardInterrupt

    between = diff_targets(PLAIN, PLAIN, progress=interrupt)
    assert (between.programs > 16, between.interrupted) == (True, True)

    def stopped(*_: object, **__: object) -> Any:
        raise Stopped

    monkeypatch.setattr(on_pairs, "run_in_child", stopped)
    assert diff_targets(PLAIN, PLAIN) == Differed(0, 0, interrupted=True)


def test_vectors_are_replayed_in_a_child() -> None:
    """What the replay finds comes back; a vector whose process hangs disagrees, and the next is run."""
    (vector,) = read = vectors(SPANS)
    told: list[int] = []
    assert replay_vectors_on("vmem", read * 2, progress=told.append).agrees
    assert told == [1, 2]
    hanging = [attrs.evolve(vector, qcache_max=0)] * 2
    result = replay_vectors_on(TARGET("HangsUnmade"), hanging, timeout=BRIEF)
    assert (result.programs, len(result.disagreements)) == (2, 2)
    assert (result.disagreements[0].step, result.disagreements[0].call) == (1, "alloc 0 4096")
    assert result.disagreements[0].here.startswith("nothing has come back")
    late = replay_vectors_on("vmem", read * 3, seconds=1e-9)
    assert late.not_run == {"time was up (--seconds)": 3}
