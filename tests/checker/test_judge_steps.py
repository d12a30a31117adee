"""The judge step by step: what it notes of each step, what it says of each breach, and what must be had at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import EAGER, RETAIN, CoalescingSpace, Constraint, Contract, Fit
from coalloc.contract import ANY_RELEASE, NEVER, RETAIN_BYTES, Completeness, Geometry, Resize, Rounding
from coalloc.errors import InvalidRequestError, Violation
from coalloc.testing import SUBJECTS, Action, Breach, Judge, Property, Step, Subject, World
from coalloc.testing.mutants import Runs
from coalloc.testing.subject import MakeSpace
from tests.checker.test_judge import (
    SPLIT,
    Hidden,
    MapsWhenAsked,
    accepts_frees,
    breach,
    caching,
    flawed,
    frees_wildly,
    held_to,
    maps_for_the_second,
    maps_two,
    moves,
    program,
    raising,
    refuses_the_fourth,
    releasing,
    run,
    unmaps_all,
    with_a_static_span,
)

PAGE = 4096
PLAIN = Runs.contract


def test_each_step_has_an_outcome_and_counts() -> None:
    """An address, a word, or the bytes that were given back; the steps of a finish come behind it."""
    words = (
        "alloc 0 1p; alloc 1 5; xalloc 2 1p align=8192; resize 0 1p; resize 1 2p; resize 1 1p; free 1; reserve 3 1p at=0x3000;"
        "reserve 4 1p at=0x3000; refree 1; free-wild 0x4001; alloc 5 2p; free-inside 5 4096; free-in-map 5; alloc 6 8p;"
        "starve 1; alloc 7 16p; free 0; free 2; free 3; reclaim; finish"
    )
    judge = run(CoalescingSpace, words, "setting limit=40 room=40 arena=8")
    assert judge.outcomes == [
        "0x0", "0x1000", "0x2000", "0x0", "0x3000", "0x3000", "freed", "reserved", "refused", "passed over", "refused",
        "0x4000", "refused", "waiting", "0x8000", "starving", "refused", "freed", "freed", "freed", "32768", "finished",
        "starving", "freed", "32768", "0x0", "freed",
    ]  # fmt: skip
    figures = judge.figures
    assert (figures.allocs, figures.frees, figures.stayed, figures.moved, figures.refusals) == (8, 8, 1, 1, 1)
    assert [str(step) for step in judge.steps[-5:]] == ["starve 0", "free 6", "reclaim", "alloc 7 163840", "free 7"]
    assert judge.source.starve == 0
    assert judge.gone == {1: 0x3000, 0: 0, 2: 0x2000, 3: 0x3000, 5: 0x4000, 6: 0x8000, 7: 0}


@pytest.mark.parametrize(
    ("owner", "message", "subject", "words"),
    [
        (Property.P7, "resize(0x0, 8192) was refused, and there is room at 0x2000",
         flawed(resize=raising(MemoryError())), "alloc 0 1p; alloc 1 1p; resize 0 2p"),
        (Property.P18, "resize(0x0, 8192) was refused, and could be done in place",
         flawed(resize=raising(MemoryError())), "alloc 0 1p; resize 0 2p"),
        (Property.P18, "resize(0x0, 8192) moved the buffer to 0x1000, and it could have stayed", flawed(resize=moves),
         "alloc 0 1p; resize 0 2p"),
        (Property.P18, "resize(0x0, 20480) grew over what lies behind the buffer", flawed(resize=lambda _, base, __: base),
         "alloc 0 1p; resize 0 5p"),
        (Property.P18, "resize(0x0, 8192) raised OSError: no", flawed(resize=raising(OSError("no"))),
         "alloc 0 1p; resize 0 2p"),
        (Property.P7, "xalloc(4096, align=8192) raised OSError: no", flawed(xalloc=raising(OSError("no"))),
         "alloc 0 1p; xalloc 1 1p align=8192"),
        (Property.P7, "xalloc(4096, align=8192, lo=1) raised OSError: no", flawed(xalloc=raising(OSError("no"))),
         "alloc 0 1p; xalloc 1 1p align=8192 lo=1"),
        (Property.P7, "reserve(0x1000+4096) was refused, and the range lies in a hole",
         flawed(reserve=lambda self, extent: (_ for _ in ()).throw(self._in_the_way(extent))),
         "alloc 0 1p; reserve 1 1p at=0x1000"),
        (Property.P1, "reserve(0x0+4096) was granted, and the range does not lie in a hole", flawed(reserve=lambda *_: None),
         "alloc 0 1p; reserve 1 1p at=0"),
        (Property.P4, "reclaim() returned 5, and unmapped 0 bytes", flawed(reclaim=lambda _: 5), "alloc 0 1p; reclaim"),
        (Property.P4, "size_of(0x0) is 5, and the buffer has 4096 bytes", flawed(size_of=lambda *_: 5), "alloc 0 1p"),
        (Property.P12, "the arena 0x0 was unmapped with a live buffer at 0x1000", flawed(free=unmaps_all),
         "alloc 0 1p; alloc 1 1p; free 0"),
        (Property.P5, "its own checker reports I3: odd", flawed(violations=lambda _: [Violation("I3", "odd")]), "alloc 0 1p"),
        (Property.P4, "its own checker reports I99: odd", flawed(violations=lambda _: [Violation("I99", "odd")]), "alloc 0 1p"),
        (Property.P4, "violations() raised OSError: no", flawed(violations=raising(OSError("no"))), "alloc 0 1p"),
        (Property.P4, "stats() raised OSError: no", flawed(stats=raising(OSError("no"))), "alloc 0 1p"),
        (Property.P4, "segments() raised OSError: no", flawed(segments=raising(OSError("no"))), "alloc 0 1p"),
        (Property.P4, "size_of(0x0) raised OSError: no", flawed(size_of=raising(OSError("no"))), "alloc 0 1p"),
        (Property.P10, "size_of(0x0) of a freed buffer raised OSError: no", flawed(size_of=lambda self, base: (
            raising(OSError("no"))() if base not in self._at or self._at[base].state else PAGE)), "alloc 0 1p; free 0"),
        (Property.P10, "free(0x0), freed already was accepted", flawed(free=lambda self, base: (
            CoalescingSpace.free(self, base) if not self._at[base].state else None)), "alloc 0 1p; free 0; refree 0"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else None,
)  # fmt: skip
def test_every_breach_is_said_in_these_words(owner: Property, message: str, subject: MakeSpace, words: str) -> None:
    """The call as it was made, what it did, and what it should have done."""
    found = breach(subject, words)
    assert (found.property, found.message) == (owner, message)


def test_a_breach_of_a_place_has_a_picture() -> None:
    """With what was given, or with what a refused request could have had; no other breach has one."""
    refused = breach(flawed(alloc=refuses_the_fourth), f"{SPLIT}; alloc 3 1p")
    assert refused.picture.split("\n") == [
        "arena 0x0+16384, 4096 bytes a mark", "  #..#", "   + expected: 0x1000+4096",
    ]  # fmt: skip
    given = breach(flawed(alloc=lambda self, size: self.xalloc(size, lo=PAGE)), "alloc 0 2p")
    assert given.picture.split("\n") == [
        "arena 0x0+16384, 4096 bytes a mark", "  ....", "   ^^ given: 0x1000+8192", "  ++ expected: 0x0+8192",
    ]  # fmt: skip
    assert breach(flawed(reclaim=lambda _: 5), "alloc 0 1p; reclaim").picture == ""


def whole(setting: str, make_space: Any = Runs, steps: str = "", **promises: Any) -> int:
    """Return the largest request that must be granted at the end."""
    world, found = program(steps or "reclaim", setting)
    contract = attrs.evolve(PLAIN, **promises)
    judge = Judge(Subject(make_space, contract), world)
    for step in found:
        judge.do(step)
    return judge._whole()


def test_the_largest_request_is_what_limit_source_and_contract_leave() -> None:
    """Whole granules of the smaller of limit and room, less what is never handed out, in whole quanta or blocks."""
    for setting, promises, n in (
        ("setting limit=16 room=16 arena=4", {}, 16 * PAGE),
        ("setting limit=16 room=5 arena=4", {}, 5 * PAGE),
        ("setting limit=7 room=9 arena=4", {}, 7 * PAGE),
        ("setting limit=7 room=9 arena=4 slack=4095", {}, 7 * PAGE),
        ("setting limit=16 room=16 arena=4", {"arena": 0}, 4 * PAGE),
        ("setting limit=3 room=16 arena=4", {"arena": 0}, 0),
        ("setting limit=4 room=16 arena=4", {"arena": 0}, 4 * PAGE),
        ("setting limit=16 room=16 arena=4", {"arena": 2 * PAGE}, 2 * PAGE),
        ("setting limit=16 room=16 arena=4", {"arena_head": 1}, 15 * PAGE),
        ("setting limit=16 room=16 arena=4", {"arena_tail": PAGE + 1}, 14 * PAGE),
        ("setting limit=16 room=16 arena=4", {"arena_head": PAGE, "arena_tail": PAGE}, 14 * PAGE),
        ("setting limit=16 room=16 arena=4", {"header": 1}, 15 * PAGE),
        ("setting limit=16 room=16 arena=4", {"max_size": 3 * PAGE}, 3 * PAGE),
        ("setting limit=16 room=16 arena=4", {"max_size": 99 * PAGE}, 16 * PAGE),
        ("setting limit=16 room=16 arena=4", {"reserve": 3 * PAGE}, 13 * PAGE),
        ("setting limit=16 room=20 arena=4", {"reserve_percent": 50}, 8 * PAGE),
        ("setting limit=13 room=16 arena=4", {"geometry": Geometry.BUDDY}, 8 * PAGE),
        ("setting limit=16 room=16 arena=4", {"geometry": Geometry.BUDDY}, 16 * PAGE),
        ("setting limit=16 room=16 arena=4", {"geometry": Geometry.BUDDY, "largest_block": 4 * PAGE}, 4 * PAGE),
        ("setting limit=16 room=16 arena=4", {"rounding": Rounding.POWER, "header": PAGE}, 8 * PAGE),
    ):  # fmt: skip
        assert whole(setting, **promises) == n, (setting, promises)
    for room, n in ((16, 8), (40, 8), (14, 8), (12, 8)):
        assert whole(f"setting limit=16 room={room}", with_a_static_span, resize=Resize.NONE) == n * PAGE


def test_what_is_mapped_and_stays_leaves_less() -> None:
    """The rest of the limit, or what an arena holds, if that is more."""

    class Keeps(Runs):
        reclaim: Any = None

        def settle(self, arena: int) -> None:
            """Keep it."""

    for steps, n in (("reclaim", 16), ("alloc 0 1p; free 0", 12), ("alloc 0 13p; free 0", 13)):
        given = whole("setting limit=16 room=16 arena=4", Keeps, steps, release=NEVER)
        assert given == n * PAGE


def test_the_most_that_occupies_so_many_bytes() -> None:
    """In whole quanta; nothing, where a header alone is too much."""
    judge = Judge(Subject(Runs, attrs.evolve(PLAIN, header=PAGE)), World())
    assert [judge._most_within(n) for n in (0, PAGE, 2 * PAGE - 1, 2 * PAGE, 9 * PAGE)] == [0, 0, 0, PAGE, 8 * PAGE]
    power = Judge(Subject(Runs, attrs.evolve(PLAIN, rounding=Rounding.POWER)), World())
    assert [power._most_within(n * PAGE) for n in (1, 2, 3, 4, 7, 8)] == [n * PAGE for n in (1, 2, 2, 4, 4, 8)]


def test_a_footprint_of_its_own_keeps_the_laws() -> None:
    """It is a multiple that holds the request, and does not fall."""
    promised = attrs.evolve(PLAIN, rounding=Rounding.OWN)

    def says(answer: Callable[[int], Any]) -> Judge:
        space = type("Says", (Runs,), {"footprint": lambda _, size: answer(size)})
        return Judge(Subject(space, promised), World())

    assert says(lambda size: size + -size % PAGE)._own_footprint(5) == PAGE
    assert says(lambda _: 2 * PAGE)._own_footprint(2 * PAGE) == 2 * PAGE
    for size, answer in ((5, "5"), (PAGE, PAGE - 1), (PAGE + 1, PAGE), (5, PAGE + 1), (5, None), (5, 4096.0)):
        said = f"footprint({size}) is {answer!r}, no multiple of the quantum that holds the request"
        with pytest.raises(Breach) as caught:
            says(lambda _, answer=answer: answer)._own_footprint(size)  # type: ignore[misc]
        assert (caught.value.property, caught.value.message) == (Property.P2, said)
    with pytest.raises(Breach) as caught:
        says(lambda size: 3 * PAGE if size == PAGE else 2 * PAGE)._own_footprint(PAGE + 1)
    assert caught.value.message == "footprint(4096) is 12288, more than footprint(4097), 8192"
    falls = says(lambda size: PAGE if size == PAGE else 2 * PAGE)
    assert falls._own_footprint(PAGE) == PAGE
    with pytest.raises(Breach, match=r"footprint\(5\) raised OSError: no"):
        says(lambda _: raising(OSError("no"))())._own_footprint(5)


def test_the_size_of_all_arenas_is_declared_told_or_shown_by_the_first() -> None:
    """Where one size is declared."""
    for arena, world, expected in (
        (None, World(arena=4), 0), (8 * PAGE, World(arena=4), 8 * PAGE), (0, World(arena=4), 4 * PAGE), (0, World(), -1),
    ):  # fmt: skip
        judge = Judge(Subject(Runs, attrs.evolve(PLAIN, arena=arena)), world)
        assert (judge._arena_size(), judge.books.arena) == (expected, expected)
        assert judge.books.told == world.arena * PAGE
    told = Judge(Subject(with_a_static_span), World())
    assert told.books.told == 1 << 20
    assert (told.books.limit, told.books.granule, told.quantum) == (16 * PAGE, PAGE, PAGE)
    free = Judge(Subject(Runs, attrs.evolve(PLAIN, limited=False)), World())
    assert free.books.limit == 2**64


def test_what_is_freed_is_kept_or_given_back_by_the_rule_in_bytes() -> None:
    """The words name the arena, the rule, and what is kept beside it."""
    keeps = attrs.evolve(PLAIN, release=attrs.evolve(PLAIN.release, keep=4 * PAGE, unit="bytes"))
    found = breach(Subject(Runs, keeps), "alloc 0 1p; free 0", "setting limit=8 room=8 arena=4")
    assert (found.property, found.message) == (
        Property.P12, "a free gave back the arena 0x0, which retain-bytes(16384) keeps beside 0 idle bytes",
    )  # fmt: skip
    less = attrs.evolve(PLAIN, release=attrs.evolve(PLAIN.release, keep=4 * PAGE - 1, unit="bytes"))
    assert run(Subject(Runs, less), "alloc 0 1p; free 0", "setting limit=8 room=8 arena=4").outcomes == ["0x0", "freed"]


def test_a_size_that_is_shown_is_held_to_the_request() -> None:
    """A multiple of the quantum that holds it."""
    shown = attrs.evolve(PLAIN, fit=None, rounding=Rounding.SHOWN, completeness=Completeness.BEST_EFFORT)
    for answer in (0, PAGE - 1, PAGE + 1, "4096", 4096.0, None):
        lies = type("Lies", (Runs,), {"size_of": lambda *_, answer=answer: answer})
        found = breach(Subject(lies, shown), "alloc 0 1p")
        said = f"size_of(0x0) is {answer!r}, and the request occupies at least 4096 bytes"
        assert (found.property, found.message) == (Property.P4, said)
    judge = run(Subject(Runs, shown), "alloc 0 1p; resize 0 2p; free 0")
    assert (judge._most(PAGE), run(Runs, "alloc 0 1p")._most(PAGE)) == (2 * PAGE, PAGE)


def test_steps_are_made_again_as_they_were() -> None:
    """An address that differs is told, unless addresses need not be the same; so is an error."""
    words = "alloc 0 1p; alloc 1 1p; free 0; alloc 2 9p; starve 3; alloc 0 1p; resize 1 3p; reclaim"
    judge = run(Runs, words)
    memory = judge.memory()
    assert memory.live == judge.live
    again = Judge.recalled(judge.subject, judge.world, memory)
    for name in ("steps", "outcomes", "live", "gone", "_cached"):
        assert getattr(again, name) == getattr(judge, name)
    assert vars(again.figures) == vars(judge.figures)
    assert again.source.events == []
    assert again.source.starve == judge.source.starve == 3
    again.do(Step(Action.FREE, 1))
    assert (1 in memory.live, len(memory.steps), memory.figures.frees) == (True, 8, 1)
    other = attrs.evolve(memory, outcomes=("0x1000", *memory.outcomes[1:]))
    with pytest.raises(Breach) as caught:
        Judge.recalled(judge.subject, judge.world, other)
    assert (caught.value.property, caught.value.message) == (
        Property.P15, "alloc 0 4096 gave 0x1000, and 0x0 when run again",
    )  # fmt: skip
    any_address = attrs.evolve(judge.subject, contract=attrs.evolve(PLAIN, deterministic=False))
    assert Judge.recalled(any_address, judge.world, other).outcomes == list(other.outcomes)
    with pytest.raises(Breach, match=r": alloc 0 4096, when run again, raised MemoryError") as caught:
        Judge.recalled(judge.subject, World(limit=1, room=0, arena=1), memory)
    assert caught.value.property is Property.P15
    judge.do(Step(Action.REFREE, 0))
    with pytest.raises(InvalidRequestError, match="is no step that can be made again without a judge") as refused:
        Judge.recalled(judge.subject, judge.world, judge.memory())
    assert (refused.value.what, refused.value.value) == ("memory", "refree 0")


def test_who_maps_ahead_may_place_a_request_before_or_after() -> None:
    """In the hole that there was before the map call, or in the one that it makes."""
    ahead = attrs.evolve(PLAIN, ahead=True, release=NEVER, two_ended=64 * PAGE)

    class Early(Runs):
        def alloc(self, size: int) -> int:
            """Take a hole, then map the next arena."""
            base = super().alloc(size)
            if len(self.arenas) == 1:
                self.grow(size, 0)
            return base

    assert run(Subject(Early, ahead), "alloc 0 4p; alloc 1 1p", "setting limit=16 room=16 arena=4").outcomes == [
        "0x0",
        "0x4000",
    ]
    found = breach(Subject(Early), "alloc 0 1p", "setting limit=16 room=16 arena=4")
    assert found.message == "2 arenas were mapped for one request of 4096 bytes"


def test_a_request_in_place_of_a_step_is_judged_too() -> None:
    """It has a number of its own, and is where the fit puts it."""
    judge = run(CoalescingSpace, "alloc 0 1p")
    judge.adopt(5, 5, judge.space.alloc(5))
    assert judge.live == {0: (0, PAGE), 5: (PAGE, PAGE)}
    with pytest.raises(Breach, match="best fit puts them at 0x2000"):
        judge.adopt(6, PAGE, judge.space.xalloc(PAGE, lo=3 * PAGE))


SLIDE = (
    Step(Action.ALLOC, 0, PAGE), Step(Action.ALLOC, 1, 2 * PAGE), Step(Action.ALLOC, 2, PAGE), Step(Action.FREE, 0),
)  # fmt: skip


def slid(there: int | None, size: int, arena: int = 4) -> Judge:
    """Judge a resize of 8192 bytes at 0x1000 to a size, with 4096 free in front, that moves the buffer there, or is refused."""

    class Slides(Runs):
        contract = attrs.evolve(PLAIN, resize=Resize.SLIDING)

        def resize(self, base: int, size: int) -> int:
            if there is None:
                self.refusals += 1
                raise MemoryError
            self.give(base, self.busy.pop(base))
            hole = next(hole for hole in self.holes if hole[0] <= there and there + size <= sum(hole))
            self.cut(hole[0], hole[1], there, size)
            self.busy[there] = size
            return there

    judge = Judge(Subject(Slides), World(limit=arena, room=arena, arena=arena))
    for step in SLIDE:
        judge.do(step)
    judge.do(Step(Action.RESIZE, 1, size))
    return judge


def test_a_buffer_slides_where_it_fits_and_is_not_refused_there() -> None:
    """It has its new place and size, and the move is counted."""
    judge = slid(0, 3 * PAGE)
    assert (judge.live[1], judge.outcomes[-1], judge.figures.moved) == ((0, 3 * PAGE), "0x0", 1)
    assert judge.books.state.holes == ()
    judge = slid(0, 2 * PAGE)
    assert (judge.live[1], judge.books.state.holes) == ((0, 2 * PAGE), ((2 * PAGE, PAGE),))
    with pytest.raises(Breach) as caught:
        slid(None, 3 * PAGE)
    assert (caught.value.property, caught.value.message) == (
        Property.P18, "resize(0x1000, 12288) was refused, and the buffer could slide in the free space around it",
    )  # fmt: skip
    assert slid(None, 4 * PAGE).outcomes[-1] == "refused"
    with pytest.raises(Breach) as caught:
        slid(None, 2 * PAGE)
    assert caught.value.message == "resize(0x1000, 8192) was refused, and could be done in place"


def test_a_buffer_may_slide_clear_of_its_old_range_but_not_out_of_the_free_space_around_it() -> None:
    """A page at 0 is a slide of the two pages behind it; one beyond the next buffer is a move, and could have stayed."""
    judge = slid(0, PAGE)
    assert (judge.live[1], judge.books.state.holes) == ((0, PAGE), ((PAGE, 2 * PAGE),))
    with pytest.raises(Breach, match="moved the buffer to 0x4000, and it could have stayed"):
        slid(4 * PAGE, PAGE, arena=6)


def test_a_buffer_that_moves_leaves_its_old_place_when_it_has_the_new_one() -> None:
    """Its arena goes back with the last buffer, and the figures count an alloc, a free and a move."""
    judge = run(Runs, "alloc 0 2p; resize 0 5p", "setting limit=16 room=16 arena=4")
    assert (judge.live, judge.outcomes[-1]) == ({0: (4 * PAGE, 5 * PAGE)}, "0x4000")
    figures = judge.figures
    assert (figures.allocs, figures.frees, figures.moved, figures.stayed) == (2, 1, 1, 0)
    assert (judge.books.releases, judge.source.ranges, judge.source.events) == (1, {4 * PAGE: 5 * PAGE}, [])
    again = run(
        Runs, "alloc 0 2p; resize 0 2p; resize 0 1p; resize 0 4p; resize 0 3p", "setting limit=16 room=16 arena=4"
    )
    assert (again.figures.stayed, again.figures.moved, again.live) == (3, 0, {0: (0, 3 * PAGE)})


def test_what_is_freed_while_the_source_maps_is_gone() -> None:
    """It counts as a free of its own, and the refusal or place of the request is judged with some doubt."""
    words = "alloc 0 4p; free-in-map 0; alloc 1 1p; free 1"
    judge = run(Runs, words, "setting limit=16 room=16 arena=4")
    assert (judge.outcomes[1:], judge.gone) == (["waiting", judge.outcomes[2], "freed"], {0: 0, 1: judge.gone[1]})
    assert (judge.figures.allocs, judge.figures.frees, judge.live) == (2, 2, {})
    assert run(Runs, "free-in-map 0; alloc 0 1p").outcomes == ["passed over", "0x0"]
    kept = run(Runs, "alloc 0 4p; free-in-map 0; resize 0 5p", "setting limit=16 room=16 arena=4")
    assert (kept.live, kept.gone) == ({0: (4 * PAGE, 5 * PAGE)}, {})


@pytest.mark.parametrize(
    ("owner", "message", "subject", "words"),
    [
        (Property.P12, "a free gave back the arena 0x0, and the rule is never", held_to(releasing(EAGER), release=NEVER),
         "alloc 0 1p; free 0"),
        (Property.P12, "a free gave back the last idle arena 0x1000, and the rule is retain(2)",
         held_to(releasing(EAGER), release=RETAIN(2)), "alloc 0 1p; alloc 1 1p; free 1"),
        (Property.P12, "1 idle arenas are kept, the rule is eager", held_to(releasing(NEVER), release=EAGER),
         "alloc 0 1p; free 0"),
        (Property.P12, "3 idle arenas are kept, the rule is retain(2)", held_to(releasing(NEVER), release=RETAIN(2)),
         "alloc 0 1p; alloc 1 1p; alloc 2 1p; free 0; free 1; free 2"),
        (Property.P12, "8192 idle bytes are kept, the rule is retain-bytes(8191)",
         held_to(releasing(NEVER), release=RETAIN_BYTES(8191)), "alloc 0 1p; alloc 1 1p; free 0; free 1"),
        (Property.P12, "an arena was mapped for 4096 bytes, and a hole admits them", flawed(alloc=maps_for_the_second),
         "alloc 0 1p; alloc 1 1p"),
        (Property.P12, "2 arenas were mapped for one request of 4096 bytes", flawed(alloc=maps_two), "alloc 0 1p"),
        (Property.P13, "reclaim() left the idle arena 0x0", flawed(reclaim=lambda _: 0), "alloc 0 1p; free 0; reclaim"),
        (Property.P13, "reclaim() left cached buffers", caching(reclaim=lambda _: 0), "alloc 0 1p; free 0; reclaim"),
        (Property.P13, "reclaim() raised OSError: no", flawed(reclaim=raising(OSError("no"))), "reclaim"),
        (Property.P9, "free(0x0), freed already, was refused, and called the source all the same", flawed(free=frees_wildly),
         "alloc 0 1p; free 0; reclaim; refree 0"),
        (Property.P10, "free(0x1), inside a buffer was accepted", flawed(free=accepts_frees), "alloc 0 1p; free-inside 0 1"),
        (Property.P10, "free(0x5000), never handed out was accepted", flawed(free=accepts_frees),
         "alloc 0 1p; free-wild 0x5000"),
        (Property.P4, "after alloc 1 4096 the oracle cannot follow: range 0x4000+4096: is no arena", MapsWhenAsked,
         "alloc 0 1p; free 0; alloc 1 1p"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else None,
)  # fmt: skip
def test_arenas_caches_and_bad_frees_are_spoken_of_in_these_words(
    owner: Property, message: str, subject: MakeSpace | Subject, words: str
) -> None:
    """With the arena, the rule, and the bytes."""
    found = breach(subject, words, "setting limit=16 room=16 arena=4")
    assert (found.property, found.message) == (owner, message)


def test_an_arena_that_the_rule_keeps_beside_others_is_not_given_back() -> None:
    """The idle bytes beside it count, to the last one."""
    words, setting = "alloc 0 1p; alloc 1 1p; free 0; free 1", "setting limit=16 room=16 arena=4"
    found = breach(held_to(releasing(RETAIN(1)), release=RETAIN_BYTES(8192)), words, setting)
    said = "a free gave back the arena 0x1000, which retain-bytes(8192) keeps beside 4096 idle bytes"
    assert (found.property, found.message) == (Property.P12, said)
    run(held_to(releasing(RETAIN(1)), release=RETAIN_BYTES(8191)), words, setting)


def test_what_is_kept_within_the_rule_is_not_blamed() -> None:
    """Up to the number of arenas or bytes, to the last byte."""
    words = "alloc 0 1p; alloc 1 1p; free 0; free 1"
    for rule in (RETAIN(2), RETAIN_BYTES(8192), NEVER):
        judge = run(held_to(releasing(NEVER), release=rule), words, "setting limit=16 room=16 arena=4")
        assert judge.books.idle() == {0, PAGE}
    eager = run(held_to(releasing(EAGER), release=RETAIN_BYTES(4095)), words, "setting limit=16 room=16 arena=4")
    assert eager.books.idle() == set()
    any_rule = run(held_to(releasing(RETAIN(1)), release=ANY_RELEASE), words, "setting limit=16 room=16 arena=4")
    assert len(any_rule.books.idle()) == 1


def test_a_cached_buffer_is_followed_to_whoever_gets_it() -> None:
    """It is parked where it was freed, and live again under its new number."""
    judge = run(caching(), "alloc 0 1p; alloc 1 1p; free 0; free 1; alloc 2 1p")
    assert (judge.books.parked, judge.live, judge._cached) == ({0: PAGE}, {2: (PAGE, PAGE)}, {0: PAGE})
    assert judge.memory().cached == {0: PAGE}
    judge.do(Step(Action.RECLAIM))
    assert (judge.books.parked, judge._cached, judge.outcomes[-1]) == ({}, {}, "0")
    cursors = run(SUBJECTS["next-fit"], "alloc 0 1p; alloc 1 1p; free 0; alloc 2 1p").books.cursors
    assert cursors == {3 * PAGE}


def test_a_judge_of_nonsense_says_what_is_wrong_with_it() -> None:
    """A quantum that does not fit the granule, constraints without a call, memory that stays."""
    quantum: Any
    for quantum in (0, 3000, 12289, True):
        with pytest.raises(Breach) as caught:
            Judge(Subject(flawed(quantum=quantum)), World())
        assert (caught.value.property, caught.value.message) == (
            Property.P14, f"quantum is {quantum!r}, which neither divides 4096 nor is a multiple of it",
        )  # fmt: skip
    with pytest.raises(Breach) as caught:
        Judge(Subject(Hidden, Contract(fit=Fit.FIRST, constraints=frozenset({Constraint.ALIGN}))), World())
    assert caught.value.message == "constraints are declared, and there is no xalloc()"
    judge = run(MapsWhenAsked, "alloc 0 1p; free 0", "setting limit=16 room=16 arena=4")
    with pytest.raises(Breach) as caught:
        judge.finish()
    assert caught.value.message == "4096 bytes stay mapped after everything was freed and reclaimed"
    assert str(judge.steps[-1]) == "finish"


def test_a_bad_value_is_a_refusal_only_where_no_such_request_can_ever_be_served() -> None:
    """Beyond the limit, beyond the largest size, or between bounds that leave no place."""
    strict = flawed(alloc=raising(ValueError("no")), xalloc=raising(ValueError("no")))
    for promises, words, hopeless in (
        ({}, "alloc 0 4p", False),
        ({}, "alloc 0 16385", True),
        ({"limited": False}, "alloc 0 16385", True),
        ({"max_size": PAGE}, "alloc 0 4096", False),
        ({"max_size": PAGE}, "alloc 0 4097", True),
        ({}, "xalloc 0 1p hi=4095", False),
        ({}, "xalloc 0 1p hi=4094", True),
        ({}, "xalloc 0 1p align=8192", False),
    ):
        subject = held_to(strict, **promises)
        if hopeless:
            quiet = attrs.evolve(subject, deep_every=99)
            assert run(quiet, words).outcomes == ["refused"]
        else:
            found = breach(subject, words)
            assert (found.property, found.message.endswith(" raised ValueError: no")) == (Property.P7, True)


def test_seldom_is_seldom_and_often_is_often() -> None:
    """After every n-th step all that can be seen is looked at, and a freed buffer is asked for."""
    for every, looks in ((1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (7, [])):
        seen: list[int] = []
        judge: Judge | None = None

        def segments(self: Any, seen: list[int] = seen) -> Any:
            seen.append(self.stats().allocs + self.stats().frees)
            return CoalescingSpace.segments(self)

        world, steps = program("alloc 0 1p; alloc 1 1p; free 0; free 1; alloc 2 1p; free 2")
        judge = Judge(Subject(flawed(segments=segments), deep_every=every), world)
        for step in steps:
            judge.do(step)
        assert seen == looks


def test_a_world_with_pressure_calls_reclaim_while_it_maps() -> None:
    """If there is one, and the world says so."""
    for pressure in (False, True):
        judge = Judge(Subject(CoalescingSpace), World(limit=8, room=8, arena=4, pressure=pressure))
        assert (judge.source.pressure is not None) is pressure
    bare = Judge(Subject(Hidden), World(limit=8, room=8, arena=4, pressure=True))
    assert bare.source.pressure is None
    static = Judge(Subject(with_a_static_span), World(limit=8, room=8))
    assert (static.books.static, static._had_static, static.source.events) == ({0}, True, [])
    assert (static.books.idle(), static.books.mapped) == (set(), 4 * PAGE)
    for part in (judge.books.static, judge.steps, judge.outcomes, judge.live, judge.gone):
        assert not part
