"""The kit's own checkers, corrupted field by field: whatever an allocator shows wrongly is reported with its property."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, Extent, Fit, Kind, Segment, Violation, spec
from coalloc.testing import Action, Breach, Judge, Property, Step, Subject, WatchedSource, World

PAGE = 4096


class Lying(CoalescingSpace):
    """The reference with answers that a test can replace."""

    lies: dict[str, Callable[[Any], Any]]

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 8 * PAGE) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.lies = {}

    def _say(self, name: str, truth: Any) -> Any:
        return self.lies[name](truth) if name in self.lies else truth

    def alloc(self, size: int) -> int:
        return self._say("alloc", super().alloc(size))  # type: ignore[no-any-return]

    def segments(self) -> tuple[Segment, ...]:
        return self._say("segments", super().segments())  # type: ignore[no-any-return]

    def stats(self) -> Any:
        return self._say("stats", super().stats())

    def size_of(self, base: int) -> int:
        return self._say("size_of", super().size_of(base))  # type: ignore[no-any-return]

    def reclaim(self) -> int:
        return self._say("reclaim", super().reclaim())  # type: ignore[no-any-return]

    def violations(self) -> tuple[Violation, ...]:
        return self._say("violations", super().violations())  # type: ignore[no-any-return]


def judge() -> Judge:
    """Make a judge of two arenas of eight pages: buffers of 1, 3 and 4 pages, with a hole of 2 after the first."""
    made = Judge(Subject(Lying), World(limit=16, room=16, arena=8))
    for number, pages in enumerate((1, 2, 3, 4)):
        made.do(Step(Action.ALLOC, number, pages * PAGE))
    made.do(Step(Action.FREE, 1))
    return made


def broken(made: Judge, act: Callable[[], object]) -> Property:
    """Return the property that an act breaks."""
    with pytest.raises(Breach) as caught:
        act()
    assert caught.value.message
    del made
    return caught.value.property


def change(at: int, **changes: Any) -> Callable[[Any], Any]:
    """Return a lie that changes one segment."""
    return lambda truth: (*truth[:at], attrs.evolve(truth[at], **changes), *truth[at + 1 :])


SHOWN: list[tuple[Property, str, Callable[[Any], Any]]] = [
    (Property.P4, "segments", lambda truth: truth[1:]),
    (Property.P4, "segments", lambda truth: truth[:1] + truth[2:]),
    (Property.P4, "segments", change(0, kind=Kind.FREE)),
    (Property.P4, "segments", change(0, size=2 * PAGE)),
    (Property.P4, "segments", change(0, arena=PAGE)),
    (Property.P4, "segments", lambda truth: truth[::-1]),
    (Property.P4, "segments", change(1, kind=Kind.CACHED)),
    (Property.P5, "segments", lambda t: (t[0], *(Segment(t[1].base + n * PAGE, PAGE, Kind.FREE, 0) for n in (0, 1)), *t[2:])),
    (Property.P4, "segments", lambda _: 1 / 0),
    (Property.P4, "size_of", lambda truth: truth + 1),
    (Property.P4, "size_of", lambda _: 1 / 0),
    *((Property.P4, "stats", lambda truth, name=name: attrs.evolve(truth, **{name: 7}))
      for name in ("mapped", "live", "cached", "free", "holes", "arenas", "peak_mapped", "allocs", "frees")),
    (Property.P16, "stats", lambda truth: attrs.evolve(truth, largest_hole=PAGE)),
    (Property.P16, "stats", lambda truth: attrs.evolve(truth, largest_hole=64 * PAGE)),
    (Property.P4, "stats", lambda _: 1 / 0),
    (Property.P5, "violations", lambda _: (Violation("I3", "planted"),)),
    (Property.P2, "violations", lambda _: (Violation("I2", "planted"),)),
    (Property.P11, "violations", lambda _: (Violation("I9", "planted"),)),
    (Property.P4, "violations", lambda _: (Violation("X1", "planted"),)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "name", "lie"), SHOWN, ids=[f"{n}-{name}-{p.name}" for n, (p, name, _) in enumerate(SHOWN)]
)
def test_what_is_shown_wrongly_is_reported(expected: Property, name: str, lie: Callable[[Any], Any]) -> None:
    """The judge reports wrong segments, figures and sizes, and what the allocator's own checker finds."""
    made = judge()
    made.inspect()
    made.space.lies[name] = lie
    assert broken(made, made.inspect) is expected


ANSWERS: list[tuple[Property, Callable[[Any], Any]]] = [
    (Property.P2, lambda _: None),
    (Property.P2, lambda truth: float(truth)),
    (Property.P2, lambda truth: -truth - 1),
    (Property.P2, lambda _: True),
    (Property.P2, lambda _: 1 << 40),
    (Property.P1, lambda _: 0),
    (Property.P3, lambda truth: truth + 1),
    (Property.P8, lambda _: 12 * PAGE),
    (Property.P7, lambda _: 1 / 0),
]


@pytest.mark.parametrize(("expected", "lie"), ANSWERS, ids=[f"{n}-{p.name}" for n, (p, _) in enumerate(ANSWERS)])
def test_what_is_answered_wrongly_is_reported(expected: Property, lie: Callable[[Any], Any]) -> None:
    """The judge reports an alloc that returns no address, or one that is taken, outside, off the quantum or a wrong fit."""
    made = judge()
    made.space.lies["alloc"] = lie
    assert broken(made, lambda: made.do(Step(Action.ALLOC, 9, PAGE))) is expected


def test_reclaim_must_say_what_it_did() -> None:
    """A reclaim that returns a wrong number of bytes breaks P4."""
    made = judge()
    made.space.lies["reclaim"] = lambda truth: truth + PAGE
    assert broken(made, lambda: made.do(Step(Action.RECLAIM))) is Property.P4


def forget_a_buffer(made: Judge) -> None:
    made.live.pop(0)


def move_a_buffer(made: Judge) -> None:
    made.live[0] = (PAGE, PAGE)


def free_a_cell(made: Judge) -> None:
    made.books.state = spec.give(made.books.state, 0, PAGE)


def take_a_cell(made: Judge) -> None:
    made.books.state = spec.take(made.books.state, PAGE, PAGE)


def forget_an_arena(made: Judge) -> None:
    del made.source._ranges[8 * PAGE]


def forget_the_peak(made: Judge) -> None:
    made.books.peak = 0


def miscount(made: Judge) -> None:
    made.figures.allocs += 1


BOOKS: list[tuple[Property, Callable[[Judge], None]]] = [
    (Property.P4, forget_a_buffer), (Property.P4, move_a_buffer), (Property.P4, free_a_cell), (Property.P4, take_a_cell),
    (Property.P4, forget_an_arena), (Property.P4, forget_the_peak), (Property.P4, miscount),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "corrupt"), BOOKS, ids=lambda value: getattr(value, "__name__", value))
def test_the_judges_own_books_are_compared_with_what_is_shown(
    expected: Property, corrupt: Callable[[Judge], None]
) -> None:
    """The judge reports each of its own books that disagrees with what the allocator shows."""
    made = judge()
    corrupt(made)
    assert broken(made, made.inspect) is expected


def thrash(source: WatchedSource) -> None:
    for _ in range(300):
        source.unmap(source.map(PAGE), PAGE)


MISUSES: list[tuple[Property, Callable[[WatchedSource], object]]] = [
    (Property.P12, lambda source: source.unmap(PAGE, PAGE)),
    (Property.P12, lambda source: source.unmap(0, PAGE)),
    (Property.P12, lambda source: source.map(0)),
    (Property.P12, lambda source: source.map(None)),  # type: ignore[arg-type]
    (Property.P12, lambda source: source.touch(4 * PAGE, PAGE)),
    (Property.P12, lambda source: source.discard(0, 3 * PAGE)),
    (Property.P17, lambda source: thrash(source)),
]


@pytest.mark.parametrize(("expected", "misuse"), MISUSES, ids=[f"{n}-{p.name}" for n, (p, _) in enumerate(MISUSES)])
def test_a_misused_source_says_so_even_if_nobody_listens(
    expected: Property, misuse: Callable[[WatchedSource], object]
) -> None:
    """A misuse of the source raises Breach, and the source keeps the breach for the judge."""
    source = WatchedSource(size=4 * PAGE)
    source.map(2 * PAGE)
    with pytest.raises(Breach):
        misuse(source)
    assert source.breach is not None
    assert source.breach.property is expected


def test_the_judge_reports_a_misuse_that_the_allocator_swallows() -> None:
    """The judge reports a misuse of the source in the call that made it, even if the allocator swallows the exception."""

    class Swallows(Lying):
        def alloc(self, size: int) -> int:
            try:
                self._arenas.source.unmap(12345, PAGE)
            except Exception:
                return super().alloc(size)
            raise AssertionError

    made = Judge(Subject(Swallows), World())
    assert broken(made, lambda: made.do(Step(Action.ALLOC, 0, PAGE))) is Property.P12


def test_a_reserve_is_judged_both_ways() -> None:
    """A reserve that is granted where a buffer lies, or refused where there is a hole, breaks P7."""
    made = judge()
    made.space.reserve = None
    assert broken(made, lambda: made.do(Step(Action.RESERVE, 9, PAGE, at=PAGE))) is Property.P7

    class Refuses(Lying):
        def reserve(self, extent: Extent) -> None:
            raise self._in_the_way(extent)

    other = Judge(Subject(Refuses), World(limit=4, room=4, arena=4))
    other.do(Step(Action.ALLOC, 0, PAGE))
    assert broken(other, lambda: other.do(Step(Action.RESERVE, 1, PAGE, at=2 * PAGE))) is Property.P7


def test_other_fits_are_judged_by_their_own_rule() -> None:
    """An allocator that declares next fit and answers as first fit breaks P8."""
    first = Subject(lambda source, kva_limit: CoalescingSpace(source, kva_limit=kva_limit, fit=Fit.FIRST))
    made = Judge(attrs.evolve(first, contract=attrs.evolve(first.declared, fit=Fit.NEXT)), World())
    for number in range(3):
        made.do(Step(Action.ALLOC, number, PAGE))
    made.do(Step(Action.FREE, 0))
    assert broken(made, lambda: made.do(Step(Action.ALLOC, 9, PAGE))) is Property.P8
