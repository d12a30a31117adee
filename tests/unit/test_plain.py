"""Plain runs: each call of a check program is made as it stands, and its answer kept as it came."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import CoalescingSpace
from coalloc.testing import Action, Breach, Step, Subject, World
from coalloc.testing.plain import Answer, PlainRun, Status
from coalloc.testing.subjects import SUBJECTS

PAGE = 4096
WORLD = World(limit=4, room=4, arena=4)


def run_of(make_space: Any = SUBJECTS["first-fit"], world: World = WORLD) -> PlainRun:
    """Return a run on an allocator."""
    return PlainRun(Subject(make_space), world)


def test_every_step_has_its_answer() -> None:
    """What is granted, freed, refused and rejected is told apart; a step that makes no sense now has no answer."""
    run = run_of()
    steps = [
        (Step(Action.ALLOC, 0, PAGE - 1), "0x0"),
        (Step(Action.ALLOC, 0, PAGE), None),
        (Step(Action.XALLOC, 1, PAGE, bounds=(("align", 2 * PAGE),)), "0x2000"),
        (Step(Action.RESERVE, 2, PAGE, at=PAGE), "0x1000"),
        (Step(Action.RESERVE, 3, PAGE, at=PAGE), "refused"),
        (Step(Action.RESERVE, 3, PAGE, at=2**64 - 1), "refused"),
        (Step(Action.RESERVE, 3, 0, at=PAGE), "rejected"),
        (Step(Action.ALLOC, 3, 2 * PAGE), "refused"),
        (Step(Action.ALLOC, 3, 0), "rejected"),
        (Step(Action.ALLOC, 3, 2**63 + 1), "rejected"),
        (Step(Action.RESIZE, 1, 2 * PAGE), "0x2000"),
        (Step(Action.RESIZE, 9, PAGE), None),
        (Step(Action.FREE_INSIDE, 1, PAGE), "rejected"),
        (Step(Action.FREE_INSIDE, 1, 2 * PAGE), None),
        (Step(Action.FREE, 2), "done"),
        (Step(Action.FREE, 2), None),
        (Step(Action.REFREE, 2), "rejected"),
        (Step(Action.REFREE, 1), None),
        (Step(Action.FREE_WILD, at=17), "rejected"),
        (Step(Action.FREE_WILD, at=0), None),  # a live buffer begins there
        (Step(Action.STARVE, size=1), None),
        (Step(Action.RECLAIM), "done"),
        (Step(Action.FINISH), None),
    ]
    for step, expected in steps:
        answer = run.do(step)
        assert (step, answer if answer is None else str(answer)) == (step, expected)
    assert run.live == {0: (0, PAGE), 1: (2 * PAGE, 2 * PAGE)}
    assert run.gone == {2: PAGE}
    assert run.holes == [(PAGE, PAGE)]
    assert run.source.mapped == 4 * PAGE
    assert run.picture() == "0x0    16 KiB |##########..........####################|  75% busy"
    run.close()
    run.do(Step(Action.FREE, 0))
    run.do(Step(Action.FREE, 1))
    assert str(run.do(Step(Action.RECLAIM))) == "done (16,384 bytes)"


class Odd:
    """An allocator with nothing but two calls, of which one returns nothing and one fails in its own way."""

    def __init__(self, _source: object) -> None:
        pass

    def alloc(self, size: int) -> object:
        """Refuse small sizes, and return nothing for others."""
        if size == 1:
            raise MemoryError
        return None

    def free(self, base: int) -> None:
        """Fail."""
        raise RuntimeError if base == 0 else KeyError(base)


def test_what_is_no_answer_is_shown_as_it_came() -> None:
    """Another exception is named; what is no address counts as 0; what an allocator lacks is not asked."""
    run = run_of(Odd)
    assert run.quantum == PAGE
    assert run.do(Step(Action.RECLAIM)) is None
    assert run.do(Step(Action.ALLOC, 0, 1)) == Answer(Status.REFUSED)
    assert run.do(Step(Action.ALLOC, 0, 2)) == Answer(Status.GRANTED, 0)
    assert str(run.do(Step(Action.FREE, 0))) == "raised: RuntimeError"
    assert run.do(Step(Action.FREE_WILD, at=7)) == Answer(Status.REJECTED)
    assert run.picture() == "no arena is mapped"


def test_a_source_that_is_misused_is_a_breach() -> None:
    """A breach goes on to the caller."""

    class Greedy(CoalescingSpace):
        def free(self, base: int) -> None:
            self._arenas.source.unmap(base + 1, 5)

    run = run_of(lambda source, *, kva_limit: Greedy(source, kva_limit=kva_limit, arena_size=PAGE))
    run.do(Step(Action.ALLOC, 0, PAGE))
    with pytest.raises(Breach, match="unmap"):
        run.do(Step(Action.FREE, 0))


def test_a_buffer_is_freed_in_the_middle_of_a_map_call_and_pressure_reclaims() -> None:
    """What the source does meanwhile is entered; the buffer whose call is in progress is left alone."""
    reclaimed = []

    class Told(CoalescingSpace):
        def reclaim(self) -> int:
            reclaimed.append(1)
            return super().reclaim()

    def made(source: Any, *, kva_limit: int) -> Told:
        return Told(source, kva_limit=kva_limit, arena_size=PAGE)

    run = run_of(made, World(limit=8, room=8, pressure=True))
    told: list[Step] = []
    run.do(Step(Action.ALLOC, 0, PAGE))
    run.do(Step(Action.FREE_IN_MAP, 0))
    run.do(Step(Action.ALLOC, 1, PAGE))
    assert (set(run.live), set(run.gone), len(reclaimed)) == ({1}, {0}, 2)
    run.do(Step(Action.FREE_IN_MAP, 1))
    run.do(Step(Action.RESIZE, 1, 3 * PAGE))
    assert set(run.live) == {1}
    worlds: list[World] = []
    watched = PlainRun(Subject(made, on_world=worlds.append, on_step=told.append), WORLD)
    watched.do(Step(Action.RECLAIM))
    assert (worlds, told) == ([WORLD], [Step(Action.RECLAIM)])


def test_ranges_outside_the_arenas_are_no_holes() -> None:
    """What overlaps or lies in no arena does not make a hole of less than nothing."""
    run = run_of()
    run.do(Step(Action.ALLOC, 0, PAGE))
    run.live |= {7: (0, 2 * PAGE), 8: (2**40, PAGE)}
    assert run.holes == [(2 * PAGE, 2 * PAGE)]
