"""The parts of the judge one by one, on books that are written by hand: every edge of every rule, and the exact words."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from coalloc import spec
from coalloc.contract import (
    ANYWHERE,
    Bounds,
    Coalescing,
    Completeness,
    Contract,
    End,
    Fit,
    Geometry,
    Rounding,
    Spans,
    Tie,
)
from coalloc.errors import (
    BadFreeError,
    Change,
    Explanation,
    FreeFault,
    HoleVerdict,
    KvaLimitError,
    NoSpaceError,
    Remedy,
    Rule,
)
from coalloc.testing import Breach, Property
from coalloc.testing.judge.books import Books
from coalloc.testing.judge.calls import Calls, unexpected
from coalloc.testing.judge.figures import Figures, figure, is_count, require_segments, shown_segments
from coalloc.testing.judge.grants import (
    must_find_a_hole,
    require_bounds,
    require_place,
    room_around,
    room_behind,
    spared,
)
from coalloc.testing.judge.picture import draw
from coalloc.testing.judge.refusals import Refused, require_explanation, require_fault, require_figures, require_refusal
from coalloc.testing.source import Event, WatchedSource


def broken(owner: Property, message: str) -> Any:
    """Expect a breach with exactly this message."""
    return pytest.raises(Breach, match=f": {re.escape(message)}$", check=lambda breach: breach.property is owner)


def rows(*found: Any) -> tuple[Any, ...]:
    """Return rows of a table of any kinds of values."""
    return found


def books(quantum: int = 4, *, limit: int = 1000, fit: Fit | None = Fit.FIRST, **promises: Any) -> Books:
    """Return books of two arenas, at 16 and 64, of 32 bytes each, with live buffers at 16+8 and 32+4, and 40+4 cached."""
    found = Books(Contract(fit=fit, **promises), quantum, limit, granule=16)
    found.follow(Event(True, 16, 32))
    found.follow(Event(True, 64, 32))
    for number, base, size in ((0, 16, 8), (1, 32, 4), (2, 40, 4)):
        found.enter(number, base, size)
    del found.live[2]
    found.gone[2] = 40
    found.leave(40, 4, cached=True)
    return found


# --- the picture ---


def test_the_picture_marks_what_is_given_and_expected() -> None:
    """Each arena that holds one of both, with a mark for each quantum."""
    known = books()
    assert draw(known, 44, 64, 8).split("\n") == [
        "arena 0x10+32, 4 bytes a mark", "  ##..#.c.", "         ^ given: 0x2c+8",
        "arena 0x40+32, 4 bytes a mark", "  ........", "  ++ expected: 0x40+8",
    ]  # fmt: skip
    assert draw(known, 24, 36, 4).split("\n") == [
        "arena 0x10+32, 4 bytes a mark", "  ##..#.c.", "    ^ given: 0x18+4", "       + expected: 0x24+4",
    ]  # fmt: skip


def test_the_picture_of_nothing_is_of_the_first_arenas() -> None:
    """And an address in no arena is told in words."""
    known = books()
    for at in (96, 128):
        known.follow(Event(True, at, 16))
    lines = draw(known, None, None, 8).split("\n")
    assert lines == [
        "arena 0x10+32, 4 bytes a mark", "  ##..#.c.", "arena 0x40+32, 4 bytes a mark", "  ........",
        "arena 0x60+16, 4 bytes a mark", "  ....",
    ]  # fmt: skip
    assert draw(known, 112, None, 8).split("\n") == [*lines, "0x70+8 lies in no arena"]
    assert draw(known, 15, 140, 4).split("\n") == [
        "arena 0x80+16, 4 bytes a mark", "  ....", "     + expected: 0x8c+4", "0xf+4 lies in no arena",
    ]  # fmt: skip


def test_a_long_arena_has_several_quanta_a_mark() -> None:
    """At most 56 marks, one for what is partly free, and one at least for what is small."""
    known = Books(Contract(fit=None), 2, 1000)
    known.follow(Event(True, 0, 226))
    known.enter(0, 0, 6)
    known.enter(1, 12, 4)
    known.enter(2, 18, 2)
    known.leave(12, 4, cached=True)
    assert draw(known, 224, 6, 2).split("\n") == [
        "arena 0x0+226, 6 bytes a mark", "  #.:" + ":" + "." * 34, " " * 2 + " " * 37 + "^ given: 0xe0+2",
        "   + expected: 0x6+2",
    ]  # fmt: skip
    known = Books(Contract(fit=None), 2, 1000)
    known.follow(Event(True, 0, 112))
    assert draw(known, 0, None, 112).split("\n") == [
        "arena 0x0+112, 2 bytes a mark", "  " + "." * 56, "  " + "^" * 56 + " given: 0x0+112",
    ]  # fmt: skip


# --- what is granted ---


def test_bounds_are_kept_to_the_byte() -> None:
    """What is just inside passes; one step outside is told."""
    for base, size, bounds in (
        (8, 4, Bounds(align=8)), (12, 4, Bounds(align=8, phase=4)), (8, 8, Bounds(nocross=16)), (8, 4, Bounds(lo=8)),
        (8, 4, Bounds(hi=11)), (8, 4, ANYWHERE),
    ):  # fmt: skip
        require_bounds(base, size, bounds, 4)
    for base, size, bounds, said in (
        (6, 4, ANYWHERE, "0x6 is not a multiple of the quantum 4"),
        (12, 4, Bounds(align=8), "0xc is not 0 behind a multiple of 8"),
        (8, 4, Bounds(align=8, phase=4), "0x8 is not 4 behind a multiple of 8"),
        (12, 8, Bounds(nocross=16), "0xc+8 crosses a multiple of 16"),
        (8, 4, Bounds(lo=9), "0x8 is below lo=0x9"),
        (8, 4, Bounds(hi=10), "0x8+4 ends above 0xa"),
    ):
        with broken(Property.P3, said):
            require_bounds(base, size, bounds, 4)


def place(known: Books, base: int, size: int, **more: Any) -> None:
    """Require a place."""
    given: dict[str, Any] = {
        "asked": size,
        "bounds": ANYWHERE,
        "fit": None,
        "shown": {40: 4},
        "ages_known": True,
    } | more
    asked, bounds, fit, shown = (given[name] for name in ("asked", "bounds", "fit", "shown"))
    require_place(known, asked, base, size, bounds, fit, shown, ages_known=given["ages_known"])


def test_a_place_is_free_in_one_arena_and_where_the_fit_says() -> None:
    """What touches a live or cached buffer is free; what reaches into one is not."""
    known = books()
    for base, size in ((24, 8), (24, 4), (36, 4), (44, 4), (64, 32)):
        place(known, base, size)
    place(known, 24, 8, fit=Fit.FIRST)
    for owner, base, size, said in (
        (Property.P1, 20, 8, "0x14+8 overlaps the live buffer 0x10+8"),
        (Property.P1, 28, 8, "0x1c+8 overlaps the live buffer 0x20+4"),
        (Property.P1, 36, 8, "0x24+8 overlaps 0x28+4, which is still cached"),
        (Property.P1, 40, 4, "0x28+4 overlaps 0x28+4, which is still cached"),
        (Property.P2, 44, 8, "0x2c+8 lies in no mapped arena"),
        (Property.P2, 48, 4, "0x30+4 lies in no mapped arena"),
        (Property.P2, 12, 4, "0xc+4 lies in no mapped arena"),
    ):
        with broken(owner, said) as caught:
            place(known, base, size)
        assert caught.value.at == (base, size)
        assert caught.value.expected == ()


def test_a_place_that_the_fit_does_not_take_is_told_with_those_that_it_takes() -> None:
    """Up to three of them; and the rule for large requests is seen from the other end."""
    known = books()
    with broken(Property.P8, "4 bytes lie at 0x24; first fit puts them at 0x18") as caught:
        place(known, 36, 4, fit=Fit.FIRST)
    assert (caught.value.at, caught.value.expected) == ((36, 4), (24,))
    for base in (36, 44):
        place(known, base, 4, fit=Fit.BEST)
    with broken(Property.P8, "4 bytes lie at 0x18; best fit puts them at 0x24 or 0x2c"):
        place(known, 24, 4, fit=Fit.BEST)
    large = books(two_ended=12)
    with broken(Property.P8, "8 bytes lie at 0x18; last fit puts them at 0x58"):
        place(large, 24, 8, fit=Fit.FIRST, asked=12)
    place(large, 88, 8, fit=Fit.FIRST, asked=12)
    place(large, 24, 8, fit=Fit.FIRST, asked=11)
    with broken(Property.P3, "0x18 is below lo=0x19"):
        place(known, 24, 4, bounds=Bounds(lo=25))


def test_header_and_guard_need_not_keep_the_bounds() -> None:
    """The bounds are those of the buffer between them."""
    known = books(header=4, guard=4)
    place(known, 64, 16, bounds=Bounds(align=4, lo=68, hi=75))
    with broken(Property.P3, "0x44 is below lo=0x45"):
        place(known, 64, 16, bounds=Bounds(lo=69))
    with broken(Property.P3, "0x44+8 ends above 0x4a"):
        place(known, 64, 16, bounds=Bounds(hi=74))


def test_a_block_and_the_reserve_are_kept() -> None:
    """A buddy's block begins at a multiple of its size; what is kept in reserve is nobody's."""
    buddies = Books(Contract(fit=None, geometry=Geometry.BUDDY), 4, 1000)
    buddies.follow(Event(True, 16, 32))
    place(buddies, 24, 8, shown={})
    with broken(Property.P3, "0x14+8 is not a block of the buddy system"):
        place(buddies, 20, 8, shown={})
    for promises, kept in rows(
        ({"reserve": 40}, 40),
        ({"reserve_percent": 40}, 40),
        ({"reserve": 21, "reserve_percent": 19}, 40),
    ):
        known = books(limit=100, **promises)
        place(known, 64, 28, shown={})
        known.enter(7, 64, 20)
        place(known, 84, 8, shown={})
        known.enter(8, 84, 12)
        with broken(Property.P11, f"0x18+8 takes from the {kept} bytes that are kept in reserve"):
            known.live[9] = (500, 12)
            place(known, 24, 8, shown={})


def test_what_is_spared_at_least_and_at_most() -> None:
    """A percentage may be rounded either way, and the most is whole quanta with what the limit has beyond them."""
    for limit, promises, least, most in rows(
        (1000, {}, 0, 0),
        (1000, {"reserve": 10}, 10, 12 + 1000 % 16),
        (1003, {"reserve_percent": 10}, 100, 104 + 1003 % 16),
        (1003, {"reserve": 5, "reserve_percent": 10}, 105, 108 + 1003 % 16),
        (992, {"reserve": 8}, 8, 8),
    ):
        known = books(limit=limit, **promises)
        assert (spared(known, least=True), spared(known, least=False)) == (least, most)
    coarse = Books(Contract(fit=None, reserve=1), 32, 1003, granule=16)
    assert spared(coarse, least=False) == 32 + 1003 % 32


def test_where_a_buffer_could_grow_or_slide() -> None:
    """Into what is free behind it in its arena, and for a slide also in front."""
    known = books()
    for base, old, size, expected in (
        (16, 8, 8, True), (16, 8, 4, True), (16, 8, 16, True), (16, 8, 20, False), (32, 4, 8, True), (32, 4, 12, False),
    ):  # fmt: skip
        assert room_behind(known, base, old, size) is expected, (base, size)
    known.enter(5, 44, 4)
    assert room_behind(known, 44, 4, 4)
    assert not room_behind(known, 44, 4, 8)
    assert room_around(known, 16, 8) == (16, 16)
    assert room_around(known, 32, 4) == (24, 16)
    assert room_around(known, 44, 4) == (44, 4)
    buddies = Books(Contract(fit=None, geometry=Geometry.BUDDY), 4, 1000)
    buddies.follow(Event(True, 16, 32))
    buddies.enter(0, 16, 4)
    buddies.enter(1, 28, 4)
    assert [room_behind(buddies, 16, 4, size) for size in (4, 8, 16)] == [True, True, False]
    assert [room_behind(buddies, 28, 4, size) for size in (4, 8)] == [True, False]
    buddies.enter(2, 32, 16)
    assert room_around(buddies, 32, 16) == (32, 16)
    assert room_around(buddies, 28, 4) == (24, 8)


def test_a_hole_must_be_found_where_the_level_says_so() -> None:
    """Not without a fit, nor by who maps ahead."""
    known = books(completeness=Completeness.EXACT)
    assert must_find_a_hole(known, 32, ANYWHERE, Fit.FIRST)
    assert not must_find_a_hole(known, 36, ANYWHERE, Fit.FIRST)
    assert not must_find_a_hole(known, 32, Bounds(align=128), Fit.FIRST)
    assert not must_find_a_hole(known, 32, ANYWHERE, None)
    assert not must_find_a_hole(books(ahead=True), 32, ANYWHERE, Fit.FIRST)


# --- what is shown ---


FIGURES = {
    "mapped": 64, "peak_mapped": 64, "live": 12, "allocs": 3, "frees": 1, "arenas": 2, "refusals": 5, "resizes_in_place": 6,
    "resizes_moved": 7, "imports": 2, "releases": 0, "cached": 4, "free": 48, "holes": 4, "largest_hole": 32,
    "external_fragmentation": 1 - 32 / 48,
}  # fmt: skip


def counted() -> Figures:
    """Return the figures of a judge that has counted some calls."""
    figures = Figures()
    figures.allocs, figures.frees, figures.refusals, figures.stayed, figures.moved = 3, 1, 5, 6, 7
    return figures


def stats(
    told: dict[str, Any], known: Books | None = None, *, opaque: bool = False, had_static: bool = False
) -> Figures:
    """Hold figures to books."""
    figures = counted()
    figures.require_stats(told, known or books(), 64, opaque=opaque, had_static=had_static)
    assert figures.last == told
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_equals_its_recount(name: str) -> None:
    """Whether in an object or a mapping; one that is missing is not judged, and one that is no count is wrong."""
    stats(FIGURES)
    counted().require_stats(SimpleNamespace(**FIGURES), books(), 64, opaque=False, had_static=False)
    stats({key: value for key, value in FIGURES.items() if key != name})
    for wrong in (FIGURES[name] + 1, FIGURES[name] - 1, -1):
        owner = Property.P16 if name in ("largest_hole", "external_fragmentation") else Property.P4
        with pytest.raises(Breach, match=rf"stats\(\)\.{name} is {re.escape(repr(wrong))}, ") as caught:
            stats(FIGURES | {name: wrong})
        assert caught.value.property is owner
        if owner is Property.P4:
            assert caught.value.message.endswith(f", and the recount gives {FIGURES[name]}")
    if name != "external_fragmentation":
        with pytest.raises(Breach, match=f"{name} is {float(FIGURES[name])}"):
            stats(FIGURES | {name: float(FIGURES[name])})


def test_figures_that_nobody_can_know_are_not_judged() -> None:
    """What is cached in secret, and what was mapped before anybody looked."""
    stats(FIGURES | {"imports": 9, "releases": 9}, had_static=True)
    stats(
        FIGURES | {"cached": 9, "free": 64, "holes": 9, "largest_hole": 1, "external_fragmentation": 0.5}, opaque=True
    )
    with broken(Property.P4, "stats().mapped is 65, and the recount gives 64"):
        stats(FIGURES | {"mapped": 65}, opaque=True)
    with broken(Property.P16, "stats().largest_hole is True, and no number of bytes"):
        stats(FIGURES | {"largest_hole": True})
    with broken(Property.P16, "stats().largest_hole is 31, and the largest hole has 32 bytes"):
        stats(FIGURES | {"largest_hole": 31})
    with broken(Property.P16, "stats().external_fragmentation is 0.5, and 1 - largest/free is 0.33333333333333337"):
        stats(FIGURES | {"external_fragmentation": 0.5})
    for share in ("0.5", None, 1.5, -0.5, 1, 0):
        if share is None:
            stats(FIGURES | {"external_fragmentation": None}, opaque=True)
        elif share in (0, 1):
            stats(FIGURES | {"external_fragmentation": share}, opaque=True)
        else:
            with pytest.raises(Breach, match="external_fragmentation is"):
                stats(FIGURES | {"external_fragmentation": share}, opaque=True)


def test_a_largest_hole_that_need_not_be_exact_may_be_less_but_not_more() -> None:
    """And the share that is fragmented follows from what is told."""
    loose = books(exact_stats=False)
    for told in (0, 16, 32):
        stats(FIGURES | {"largest_hole": told, "external_fragmentation": 1 - told / 48}, loose)
    for told in (-1, 33):
        with pytest.raises(Breach, match="largest_hole"):
            stats(FIGURES | {"largest_hole": told, "external_fragmentation": 1 - told / 48}, loose)


def test_a_buffer_may_be_counted_with_what_it_occupies_or_without() -> None:
    """All of them alike."""
    framed = books(header=2, guard=1)
    stats(FIGURES, framed)
    stats(FIGURES | {"live": 6}, framed)
    for live in (9, 5, 7):
        with broken(Property.P4, f"stats().live is {live}, and the recount gives 12"):
            stats(FIGURES | {"live": live}, framed)
    with broken(Property.P4, "stats().live is 6, and the recount gives 12"):
        stats(FIGURES | {"live": 6})


def test_a_refusal_keeps_each_figure_of_calls_that_succeed() -> None:
    """One that was missing counts as 0, and others may change."""
    figures = counted()
    figures.last = {"allocs": 3, "live": 5}
    figures.require_kept("alloc(1)", {"allocs": 3, "live": 5, "frees": 0, "refusals": 9})
    for name in ("allocs", "frees", "resizes_in_place", "resizes_moved", "live"):
        with broken(Property.P9, f"alloc(1) was refused, and changed {name}"):
            figures.require_kept("alloc(1)", {"allocs": 3, "live": 5, name: 7})
    assert (figure({"a": 1}, "a"), figure({"a": 1}, "b"), figure(SimpleNamespace(a=1), "a")) == (1, None, 1)
    assert figure(SimpleNamespace(a=1), "b") is None
    assert [is_count(value) for value in (0, 7, True, 1.0, None)] == [True, True, False, False, False]


SHOWN = [
    (16, 8, "busy", 16), (24, 8, "free", 16), (32, 4, "busy", 16), (36, 4, "free", 16), (40, 4, "cached", 16),
    (44, 4, "free", 16), (64, 32, "free", 64),
]  # fmt: skip


def but(index: int, *segments: tuple[int, int, str, int]) -> list[tuple[int, int, str, int]]:
    """Return what is shown with other segments in the place of one."""
    return [*SHOWN[:index], *segments, *SHOWN[index + 1 :]]


def test_what_is_shown_is_what_the_books_know() -> None:
    """Buffers, holes and all that lies between."""
    require_segments(SHOWN, books())
    for index, segments, owner, said in (
        (0, (), Property.P4, "the buffer 0x10+8 is missing among the segments"),
        (0, ((16, 8, "busy", 16), (24, 4, "busy", 16)), Property.P4, "the buffer 0x18+4 stands in the segments"),
        (0, ((16, 8, "busy", 16), (16, 8, "busy", 16)), Property.P4, "the buffer 0x10+8 stands in the segments"),
        (1, (), Property.P4, "the free range 0x18+8 is shown as no hole"),
        (
            1,
            ((24, 4, "free", 16), (28, 4, "free", 16)),
            Property.P5,
            "the free range 0x18+8 is shown as 0x18+4, 0x1c+4",
        ),
        (1, ((24, 4, "free", 16),), Property.P4, "the free range 0x18+8 is shown as 0x18+4"),
        (1, ((20, 8, "free", 16),), Property.P5, "the free range 0x18+8 is shown as 0x14+8"),
        (1, ((12, 8, "free", 16),), Property.P5, "the free range 0x18+8 is shown as no hole"),
        (4, (), Property.P4, "the segments do not tile the arenas"),
        (4, ((40, 4, "free", 16),), Property.P4, "the segments do not tile the arenas"),
        (6, ((64, 32, "free", 16),), Property.P4, "the segments do not tile the arenas"),
    ):
        with broken(owner, said):
            require_segments(but(index, *segments), books())
    require_segments(but(1), books(coalescing=Coalescing.BY_ARENA))


def test_what_is_never_handed_out_may_be_shown_or_not() -> None:
    """But not as free; and buffers may be shown with their frames or without."""
    for promises in rows({"header": 2, "guard": 1}, {"spans": Spans.JOINED}):
        known = books(**promises)
        require_segments(but(4), known)
        with broken(Property.P4, "0x28+4 is shown as free, and is no hole"):
            require_segments(but(4, (40, 4, "free", 16)), known)
    framed = books(header=2, guard=1)
    bare = [
        (base + 2, size - 3, kind, arena) if kind == "busy" else (base, size, kind, arena)
        for base, size, kind, arena in SHOWN
    ]
    require_segments(bare, framed)
    with broken(Property.P4, "the buffer 0x10+8 is missing among the segments"):
        require_segments([bare[0], *SHOWN[1:]], framed)
    for promises in rows({"arena_head": 1}, {"arena_tail": 1}):
        front, back = promises.get("arena_head", 0), promises.get("arena_tail", 0)
        known = Books(Contract(fit=None, **promises), 1, 1000)
        known.follow(Event(True, 64, 32))
        assert known.state.holes == ((64 + front, 32 - front - back),)
        require_segments([(*known.state.holes[0], "free", 64)], known)
    kind = SimpleNamespace(value="busy")
    assert shown_segments([SimpleNamespace(base=1, size=2, kind=kind, arena=3)]) == [(1, 2, "busy", 3)]
    assert shown_segments([SimpleNamespace(base=1, size=2, kind="free", arena=3)]) == [(1, 2, "free", 3)]


# --- the books ---


def test_arenas_are_counted_as_they_come_and_go() -> None:
    """The peak stays, a static one may go, and one that nobody saw cannot."""
    known = Books(Contract(fit=None), 4, 96)
    known.follow(Event(True, 16, 32))
    known.follow(Event(True, 64, 64))
    known.static = {16, 64}
    assert (known.mapped, known.peak, known.imports, known.releases, known.n_ranges()) == (96, 96, 2, 0, 2)
    assert (known.size_of_arena(16), known.idle(), known.largest_usable({16, 64})) == (32, set(), 64)
    known.follow(Event(False, 64, 64))
    assert (known.mapped, known.peak, known.imports, known.releases, known.n_ranges()) == (32, 96, 2, 1, 1)
    assert (known.static, known.state.holes, known.largest_usable({16})) == ({16}, ((16, 32),), 32)
    known.follow(Event(True, 64, 32))
    assert (known.mapped, known.peak, known.imports, known.idle()) == (64, 96, 3, {64})
    with pytest.raises(ValueError, match=re.escape("range 0x20+16: is no arena")):
        known.follow(Event(False, 32, 16))
    known.enter(3, 76, 4)
    assert known.idle() == set()
    with broken(Property.P12, "the arena 0x40 was unmapped with a live buffer at 0x4c"):
        known.follow(Event(False, 64, 32))
    with broken(Property.P11, "112 bytes are mapped, and the limit is 96"):
        known.follow(Event(True, 200, 48))


def test_a_cached_buffer_goes_with_its_arena() -> None:
    """It was drained before, without a sign of it."""
    known = books()
    for number in (0, 1):
        known.leave(*known.live.pop(number), cached=False)
    assert known.parked == {40: 4}
    known.follow(Event(False, 16, 32))
    assert (known.parked, known.state.holes) == ({}, ((64, 32),))


def test_arenas_of_one_size_are_held_to_it() -> None:
    """To what was declared, or to the first one."""
    for arena in (32, -1):
        known = Books(Contract(fit=None), 4, 1000, arena=arena)
        known.follow(Event(True, 16, 32))
        assert known.arena == 32
        with broken(Property.P12, "an arena of 48 bytes was mapped, and 32 are declared"):
            known.follow(Event(True, 64, 48))


def test_only_whole_quanta_between_what_is_not_handed_out_are_free() -> None:
    """Behind the head, before the tail, and beside what is excluded."""
    contract = Contract(fit=None, arena_head=5, arena_tail=3, excluded=((30, 37), (50, 50), (90, 200)))
    known = Books(contract, 4, 1000)
    known.follow(Event(True, 16, 48))
    assert known.state.holes == ((24, 4), (40, 8), (52, 8))
    known.follow(Event(True, 80, 16))
    assert known.state.holes[3:] == ((88, 0),)[1:]
    assert known.largest_usable({16, 80}) == 8
    joined = Books(Contract(fit=None, spans=Spans.JOINED), 4, 1000)
    for base in (16, 48, 96):
        joined.follow(Event(True, base, 32))
    assert [joined.largest_usable(bases) for bases in ({16, 48}, {16, 96}, {16, 48, 96}, set())] == [64, 32, 64, 0]


def test_a_copy_is_of_its_own() -> None:
    """What one learns the other does not know."""
    known = books()
    other = known.copy(lambda _: 99)
    other.enter(9, 64, 4)
    other.gone[9] = 1
    other.static.add(1)
    other.drop(40)
    other.cursors.add(5)
    other.follow(Event(True, 200, 16))
    other._held[1] = 1
    for name, value in vars(books()).items():
        if name not in ("contract", "_own"):
            assert getattr(known, name) == value, name
    assert [kept.contract.fit for kept in (known, other)] == [Fit.FIRST] * 2


def test_buffers_are_entered_changed_and_struck() -> None:
    """Where they lie is taken, and what they leave is free."""
    known = books(header=2)
    assert [known.address(number) for number in (0, 1)] == [18, 34]
    known.resize(0, 16)
    assert (known.live[0], known.state.holes[0]) == ((16, 16), (36, 4))
    known.resize(0, 16)
    known.resize(0, 4)
    assert (known.live[0], known.state.holes[0]) == ((16, 4), (20, 12))
    known.slide(1, 28, 12)
    assert (known.live[1], known.state.holes) == ((28, 12), ((20, 8), (44, 4), (64, 32)))
    assert known.drained().holes == ((20, 8), (40, 8), (64, 32))
    assert known.n_segments() == 6
    known.unpark(5, 40)
    assert (known.live[5], known.parked) == ((40, 4), {})
    known.park_ahead(64, 8)
    assert (known.parked, known.state.holes[-1]) == ({64: 8}, (72, 24))
    with broken(Property.P4, "0x40+4 is shown as cached, and does not lie in a hole"):
        known.park_ahead(64, 4)
    known.drop(64)
    assert known.segments() == [
        (16, 4, "busy", 16), (20, 8, "free", 16), (28, 12, "busy", 16), (40, 4, "busy", 16), (44, 4, "free", 16),
        (64, 32, "free", 64),
    ]  # fmt: skip


def holes_of(state: spec.State) -> tuple[tuple[int, int], ...]:
    """Return the holes of a state."""
    return state.holes


def test_what_coalesces_by_arena_is_sure_when_its_arena_is_free() -> None:
    """Or when it was used again before it had to be."""
    known = Books(Contract(fit=None, coalescing=Coalescing.BY_ARENA), 4, 1000)
    for base in (16, 64):
        known.follow(Event(True, base, 32))
    for number, base in enumerate((16, 24, 64)):
        known.enter(number, base, 8)
    known.leave(16, 8, cached=False)
    known.leave(64, 8, cached=False)
    assert holes_of(known.sure) == ((32, 16), (64, 32))
    assert holes_of(known.state) == ((16, 8), (32, 16), (64, 32))
    known.leave(24, 8, cached=False)
    assert holes_of(known.sure) == ((16, 32), (64, 32))
    known.enter(3, 16, 8)
    known.enter(4, 24, 8)
    known.leave(16, 8, cached=False)
    assert holes_of(known.sure) == ((32, 16), (64, 32))
    known.enter(5, 20, 4)
    assert holes_of(known.sure) == ((16, 4), (32, 16), (64, 32))


def test_where_a_fit_may_put_a_request() -> None:
    """From any cursor, by the declared tie and end, and where no segment is left for a rest, only whole holes."""

    def where(
        known: Books, size: int, fit: Fit | None, asked: int = 0, bounds: Bounds = ANYWHERE, *, ages: bool = True
    ) -> list[int]:
        return known.choices(asked or size, size, bounds, fit, ages_known=ages)

    assert where(books(), 4, Fit.FIRST) == [24]
    assert where(books(end=End.HIGH), 4, Fit.FIRST) == [28]
    assert where(books(two_ended=9), 4, Fit.FIRST, 9) == [92]
    assert where(books(two_ended=9), 4, Fit.FIRST, 8) == [24]
    assert where(books(), 4, Fit.FIRST, 9) == [24]
    assert where(books(tie=Tie.LOWEST), 4, Fit.BEST) == [36]
    assert where(books(fit=Fit.BEST, tie=Tie.NEWEST), 4, Fit.BEST) == [44]
    assert where(books(fit=Fit.BEST, tie=Tie.NEWEST), 4, Fit.BEST, ages=False) == [36, 44]
    assert where(books(), 4, Fit.FIRST, bounds=Bounds(lo=37)) == [44]
    turning = books()
    turning.cursors = {25, 45}
    assert where(turning, 4, Fit.NEXT) == [36, 64]
    assert where(turning, 4, Fit.FIRST) == [24]
    assert where(books(header=4), 8, None, bounds=Bounds(lo=84)) == [80, 84, 88]
    full = books(max_segments=7)
    assert (full.n_segments(), where(full, 4, Fit.FIRST), where(full, 8, Fit.FIRST)) == (7, [36, 44], [24])
    assert where(books(max_segments=8), 4, Fit.FIRST) == [24]
    assert where(books(max_segments=7), 4, None) == [36, 44]


def test_a_rest_that_is_too_small_goes_with_its_buffer() -> None:
    """One that is large enough stays a hole."""
    known = books(remainder=8)
    assert [known.with_rest(64, size) for size in (32, 28, 24, 20)] == [32, 32, 24, 20]
    assert known.with_rest(80, 12) == 16
    assert known.with_rest(24, 4) == 8
    assert [known.with_rest(base, 4) for base in (36, 44)] == [4, 4]
    assert known.with_rest(500, 4) == 4
    assert books().with_rest(64, 28) == 28
    assert known.with_rest(16, 8) == 8


def test_the_footprint_is_that_of_the_contract_or_its_own() -> None:
    """Its own only where the contract says so, and somebody tells it."""
    assert books(header=4).footprint(5) == 12
    for rounding, own, expected in (
        (Rounding.OWN, lambda size: size + 99, 104), (Rounding.OWN, None, 8), (Rounding.QUANTUM, lambda size: size + 99, 8),
    ):  # fmt: skip
        known = Books(Contract(fit=None, rounding=rounding), 4, 100, own=own)
        assert known.footprint(5) == expected


# --- calls ---


def calls() -> Calls:
    """Return calls that nobody breaks off."""
    return Calls(WatchedSource(size=1 << 20), lambda call: call())


def failing(error: Exception) -> Any:
    """Return a call that raises."""

    def call() -> None:
        raise error

    return call


def test_a_call_begins_with_nothing_known_of_the_source() -> None:
    """Whatever it did before."""
    made = calls()
    source = made.source
    source.map(1)
    source.starved = source.refused = True
    source.calls_left = 3
    assert made.demand(Property.P10, "free()", lambda: 7) == 7
    assert (source.events, source.calls_left, source.starved, source.refused) == ([], 200, False, False)
    source.breach = Breach(Property.P12, "misused")
    for call in (
        lambda: made.demand(Property.P10, "free()", lambda: 7), lambda: made.request(Property.P7, "alloc()", lambda: 7),
        lambda: made.request(Property.P7, "alloc()", failing(MemoryError())), lambda: made.refused("free()", lambda: 7),
        lambda: made.refused("free()", failing(KeyError())), lambda: made.size_refused("alloc()", failing(ValueError())),
    ):  # fmt: skip
        with broken(Property.P12, "misused"):
            call()


def test_a_request_is_granted_refused_or_wrong() -> None:
    """A bad value is a refusal only where no request of this size can be served."""
    made = calls()
    assert made.request(Property.P7, "alloc(1)", lambda: 0) == 0
    refusal = MemoryError()
    assert made.request(Property.P7, "alloc(1)", failing(refusal)) is None
    assert made.refusal is refusal
    for error in (ValueError("bad"), OverflowError("bad")):
        made.refusal = refusal
        assert made.request(Property.P7, "alloc(1)", failing(error), hopeless=True) is None
        assert made.refusal is None
        with broken(Property.P7, f"alloc(1) raised {type(error).__name__}: bad"):
            made.request(Property.P7, "alloc(1)", failing(error))
    with broken(Property.P18, "resize(1) raised OSError: bad"):
        made.request(Property.P18, "resize(1)", failing(OSError("bad")), hopeless=True)
    for answer in (-1, True, 1.0, None):
        with broken(Property.P2, f"alloc(1) returned {answer!r}, which is no address"):
            made.request(Property.P7, "alloc(1)", [answer].pop)


def test_what_must_be_refused_and_what_must_not_fail() -> None:
    """Each with the errors that it may raise, in its own words."""
    made = calls()
    for error in (ValueError(), KeyError(), IndexError()):
        assert made.refused("free(1)", failing(error)) is error
    with broken(Property.P10, "free(1) was accepted"):
        made.refused("free(1)", lambda: None)
    with broken(Property.P10, "free(1) raised OSError: bad"):
        made.refused("free(1)", failing(OSError("bad")))
    for bad in (ValueError(), TypeError(), OverflowError(), MemoryError()):
        made.size_refused("alloc(0)", failing(bad))
    with broken(Property.P14, "alloc(0) was accepted, and is no size that a request may have"):
        made.size_refused("alloc(0)", lambda: None)
    with broken(Property.P14, "alloc(0) raised OSError: bad"):
        made.size_refused("alloc(0)", failing(OSError("bad")))

    def maps() -> None:
        made.source.map(1)
        raise ValueError

    with broken(Property.P9, "alloc(0) was refused, and called the source all the same"):
        made.size_refused("alloc(0)", maps)
    assert made.look("stats()", lambda: 5) == 5
    with broken(Property.P4, "stats() raised OSError: bad"):
        made.look("stats()", failing(OSError("bad")))
    with broken(Property.P10, "free(1) raised OSError: bad"):
        made.demand(Property.P10, "free(1)", failing(OSError("bad")))
    told = Breach(Property.P17, "too long")
    for call in (made.look, made.refused, made.size_refused):
        with broken(Property.P17, "too long"):
            call("x", failing(told))
    assert unexpected(Property.P1, "x", OSError("y")).message == "x raised OSError: y"


# --- refusals ---


def refused(known: Books, size: int, *, asked: int = 0, bounds: Bounds = ANYWHERE, starved: bool = False, room: int = 128,
            reclaims: bool = True, denied: bool = False) -> bool:  # fmt: skip
    """Judge a refusal, with a source of so many bytes from 16 on, in which the arenas of the books are mapped."""
    source = WatchedSource(base=16, size=room, granule=16)
    source._ranges = {base: known.size_of_arena(base) for base in known._ranges}
    source.refused = denied
    return require_refusal(known, Refused("alloc()", asked or size, size, bounds, starved), source, reclaims=reclaims)


def test_a_refusal_is_right_where_nothing_could_serve_it() -> None:
    """No hole, no cached buffer, no arena: each is told where there is one."""
    with broken(Property.P7, "alloc() was refused, and there is room at 0x18") as caught:
        refused(books(), 8)
    assert caught.value.expected == (24, 64, 68, 72, 76, 80, 84, 88)
    with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
        refused(books(), 36)
    assert refused(books(limit=111), 36, reclaims=False)
    with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
        refused(books(limit=112), 36)
    with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
        refused(books(), 36, denied=True)
    assert refused(books(retries=False), 36, denied=True)
    assert refused(books(), 36, starved=True)
    assert refused(books(), 36, room=127, reclaims=False)


def test_a_cache_is_drained_and_idle_arenas_go_before_a_refusal() -> None:
    """Where the allocator can be told to."""
    known = books(limit=64)
    for base, size in ((24, 8), (36, 4), (44, 4)):
        known.enter(base, base, size)
    with broken(Property.P13, "alloc() was refused, and an arena could be mapped in place of idle ones"):
        refused(books(limit=80), 36)
    assert refused(books(limit=80), 36, reclaims=False)
    assert refused(books(limit=79), 36)
    assert refused(books(limit=80, reclaims=False), 36)
    known.enter(99, 64, 32)
    with broken(Property.P13, "alloc() was refused, and there is room when the cache is drained"):
        refused(known, 4)
    assert refused(known, 8, reclaims=True)


def test_some_refusals_need_no_other_reason() -> None:
    """A request beyond the largest, the reserve, or the last segment."""
    assert not refused(books(max_size=7), 8)
    with pytest.raises(Breach):
        refused(books(max_size=8), 8)
    assert not refused(books(max_size=7), 8, asked=8)
    with pytest.raises(Breach):
        refused(books(max_size=7), 8, asked=7)
    buddies = Books(Contract(fit=None, geometry=Geometry.BUDDY, largest_block=8), 4, 1000)
    buddies.follow(Event(True, 16, 32))
    assert not refused(buddies, 16)
    with pytest.raises(Breach):
        refused(buddies, 8)
    assert not refused(books(limit=96, reserve=80), 8)
    with pytest.raises(Breach):
        refused(books(limit=96, reserve=76), 8)
    assert not refused(books(limit=96, reserve=77), 8)
    assert not refused(books(max_segments=7), 12)
    with pytest.raises(Breach):
        refused(books(max_segments=8), 12)
    with pytest.raises(Breach):
        refused(books(max_segments=7), 8)


def test_no_arena_can_be_mapped_from_the_reserve() -> None:
    """What is kept at most counts as kept."""
    for limit, reserve, can in ((120, 4, False), (124, 4, False), (144, 4, True), (128, 16, True), (128, 17, False)):
        known = books(limit=limit, reserve=reserve)
        if can:
            with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
                refused(known, 36, reclaims=False)
        else:
            assert refused(known, 36, reclaims=False)


def test_best_effort_must_serve_where_nothing_is_live() -> None:
    """And elsewhere may want an arena twice as large as the request needs, or as it was told."""
    known = Books(Contract(fit=None, completeness=Completeness.BEST_EFFORT), 4, 1000, told=64)
    known.follow(Event(True, 16, 32))
    with broken(Property.P7, "alloc() was refused, and there is room at 0x10"):
        refused(known, 32)
    with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
        refused(known, 36, room=80)
    known.enter(0, 16, 4)
    assert not refused(known, 28)
    for size, room, need in ((36, 128, 96), (4, 95, 0), (20, 128, 0)):
        if need:
            with broken(Property.P7, f"alloc() was refused, and an arena of {need} bytes could be mapped"):
                refused(known, size, room=room)
        else:
            assert not refused(known, size, room=room)
    assert refused(known, 36, room=127)
    with broken(Property.P7, "alloc() was refused, and an arena of 64 bytes could be mapped"):
        refused(known, 32, room=96)
    known.enter(1, 20, 4)
    known.live.clear()
    known.parked[20] = 4
    assert not refused(known, 24)
    with broken(Property.P7, "alloc() was refused, and an arena of 48 bytes could be mapped"):
        refused(known, 36, room=127)


def test_arenas_of_one_size_are_what_can_be_mapped() -> None:
    """None is sure where its size is not known, or a request is larger."""
    for arena, size, said in ((32, 36, ""), (32, 32, "32"), (-1, 32, "")):
        known = Books(Contract(fit=None), 4, 1000, arena=arena)
        if said:
            with broken(Property.P7, f"alloc() was refused, and an arena of {said} bytes could be mapped"):
                refused(known, size)
        else:
            assert refused(known, size)
    with broken(Property.P7, "alloc() was refused, and an arena of 64 bytes could be mapped"):
        refused(Books(Contract(fit=None, arena_head=7, arena_tail=6), 4, 1000), 36)
    framed = Books(Contract(fit=None, header=4), 4, 1000)
    assert refused(framed, 36, bounds=Bounds(align=8))
    with pytest.raises(Breach):
        refused(framed, 36)


def error(kind: Any = NoSpaceError, *, remedies: Any = (), verdicts: Any = None, **lies: Any) -> Any:
    """Return what a refusal of 36 bytes says, in a world of the books."""
    told = {"free": 48, "largest_hole": 32, "mapped": 64, "kva_limit": 1000} | lies
    holes = ((24, 8), (36, 4), (44, 4), (64, 32)) if verdicts is None else verdicts
    explanation = Explanation(36, tuple(HoleVerdict(base, size, Rule.SIZE) for base, size in holes), "", remedies)
    return kind(told.pop("request", 36), **told, explain=lambda: explanation)


def test_the_figures_of_a_refusal_are_right() -> None:
    """A largest hole that need not be exact may be less."""
    require_figures(books(), error(), 36, 64)
    for name, true in (("request", 36), ("free", 48), ("largest_hole", 32), ("mapped", 64)):
        for lie in (true - 1, true + 1):
            with broken(Property.P16, f"the refusal says {name}={lie}, and it is {true}"):
                require_figures(books(), error(**{name: lie}), 36, 64)
    loose = books(exact_stats=False)
    require_figures(loose, error(largest_hole=31), 36, 64)
    for name in ("largest_hole", "free"):
        with pytest.raises(Breach):
            require_figures(loose, error(**{name: 99}), 36, 64)
    with pytest.raises(Breach):
        require_figures(loose, error(free=47), 36, 64)
    require_figures(Books(Contract(fit=None), 4, 9), error(free=0, largest_hole=0, mapped=0), 36, 0)


def explained(told: Any, known: Books, size: int = 36, bounds: Bounds = ANYWHERE, room: int = 80) -> None:
    """Judge an explanation."""
    source = WatchedSource(base=16, size=room, granule=16)
    source._ranges = {16: 32, 64: 32}
    require_explanation(known, Refused("alloc()", size, size, bounds, False), told, source, lambda _, call: call())


def test_an_explanation_tells_of_every_hole_and_blames_the_limit_rightly() -> None:
    """The limit is to blame where it leaves less than the pages of the request."""
    explained(error(), books())
    for holes in ((), ((24, 8), (36, 4), (44, 4), (64, 28)), ((24, 8), (36, 4), (44, 4))):
        with broken(Property.P16, f"the refusal tells of {len(holes)} holes, and there are 4"):
            explained(error(verdicts=holes), books())
    explained(error(KvaLimitError), books(limit=111))
    with broken(Property.P16, "the refusal blames the limit, which leaves 48 bytes"):
        explained(error(KvaLimitError), books(limit=112))
    explained(error(), books(limit=112))


def test_a_remedy_helps_and_is_the_smallest() -> None:
    """Smaller sizes, and wider bounds; a higher limit as far as the source has room."""
    for change, value, more, said in (
        (Change.SIZE, 32, {}, ""),
        (Change.SIZE, 36, {}, "which does not help"),
        (Change.SIZE, 28, {}, "and a smaller change helps"),
        (Change.LO, 64, {"size": 32, "bounds": Bounds(lo=70)}, ""),
        (Change.LO, 65, {"size": 32, "bounds": Bounds(lo=70)}, "which does not help"),
        (Change.LO, 63, {"size": 32, "bounds": Bounds(lo=70)}, "and a smaller change helps"),
        (Change.HI, 95, {"size": 32, "bounds": Bounds(hi=70)}, ""),
        (Change.HI, 94, {"size": 32, "bounds": Bounds(hi=70)}, "which does not help"),
        (Change.HI, 96, {"size": 32, "bounds": Bounds(hi=70)}, "and a smaller change helps"),
        (Change.ALIGN, 64, {"size": 32, "bounds": Bounds(align=256)}, ""),
        (Change.KVA_LIMIT, 112, {"room": 128}, ""),
        (Change.KVA_LIMIT, 111, {"room": 128}, "which does not help"),
        (Change.KVA_LIMIT, 112, {"room": 127}, "which does not help"),
        (Change.KVA_LIMIT, 127, {"room": 128}, ""),
        (Change.KVA_LIMIT, 128, {"room": 128}, "and a smaller change helps"),
        (Change.KVA_LIMIT, 1, {"bounds": Bounds(align=64)}, ""),
    ):
        remedy = Remedy(change, value)
        told = error(remedies=(remedy,))
        known = books(limit=80)
        if said:
            with broken(Property.P16, f"the refusal advises to {remedy}, {said}"):
                explained(told, known, **more)
        else:
            explained(told, known, **more)
    explained(error(remedies=(Remedy(Change.KVA_LIMIT, 1),)), books(limit=80, completeness=Completeness.CLASS))


def test_a_smaller_size_may_get_an_arena_of_its_own() -> None:
    """As large as limit and source leave room for; at a level that may overlook one, nobody can tell."""
    for value, completeness, said in (
        (48, Completeness.EXACT, ""), (44, Completeness.EXACT, "and a smaller change helps"),
        (52, Completeness.EXACT, "which does not help"), (44, Completeness.CLASS, ""),
        (52, Completeness.CLASS, "which does not help"),
    ):  # fmt: skip
        remedy = Remedy(Change.SIZE, value)
        for limit, room in ((112, 200), (127, 200), (999, 128), (999, 143)):
            known = books(limit=limit, completeness=completeness)
            if said:
                with broken(Property.P16, f"the refusal advises to {remedy}, {said}"):
                    explained(error(remedies=(remedy,)), known, 100, room=room)
            else:
                explained(error(remedies=(remedy,)), known, 100, room=room)


def test_what_is_said_of_an_address_is_what_it_is() -> None:
    """Inside a live buffer before all; then freed already; a cache may have forgotten."""
    known = books()
    known.gone[7] = 20
    inside, twice, never = FreeFault.INSIDE_BUFFER, FreeFault.FREED_TWICE, FreeFault.NEVER_ALLOCATED
    for address, fault, buffer in (
        (20, inside, (16, 8)), (40, twice, None), (24, never, None), (16, never, None), (36, never, None), (44, never, None),
    ):  # fmt: skip
        require_fault(known, address, BadFreeError(address, fault, buffer))
        for wrong in (inside, twice, never):
            if wrong is not fault:
                with pytest.raises(
                    Breach, match=f"the refusal to free {address:#x} says .*, and it is {fault.value}$"
                ) as caught:
                    require_fault(known, address, BadFreeError(address, wrong, buffer))
                assert caught.value.property is Property.P10
        with pytest.raises(Breach):
            require_fault(known, address, BadFreeError(address + 1, fault, buffer))
        with pytest.raises(Breach):
            require_fault(known, address, BadFreeError(address, fault, (16, 4)))
    for fault in (twice, never):
        require_fault(known, 41, BadFreeError(41, fault))
    with pytest.raises(Breach, match="and it is never handed out"):
        require_fault(known, 41, BadFreeError(41, inside))
