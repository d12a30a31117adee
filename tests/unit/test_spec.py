"""The specification where its answers can be counted by hand."""

from __future__ import annotations

import pytest

from coalloc import SpanOverlapError, spec
from coalloc.contract import Bounds, Completeness, Fit, Geometry, Tie


def comb() -> spec.State:
    """Make busy cells at 2, 6 and 9 of 16, with holes of 2 (at 0), 3 (3), 2 (7) and 6 (10), born in the order 3, 7, 0, 10."""
    state = spec.enter(spec.State(1), 0, 16)
    for base, size in ((0, 2), (2, 1), (3, 3), (6, 1), (7, 2), (9, 1)):
        state = spec.take(state, base, size)
    for base, size in ((3, 3), (7, 2), (0, 2)):
        state = spec.give(state, base, size)
    return spec.give(spec.take(state, 15, 1), 15, 1)


def test_choices_are_all_places_that_a_fit_leaves_open() -> None:
    """The choices are every place without a fit, and the ties that a fit or unknown ages leave open."""
    state = comb()
    assert spec.choices(state, 2, fit=None) == [0, 3, 4, 7, 10, 11, 12, 13, 14]
    assert spec.choices(state, 2, fit=Fit.FIRST) == [0]
    assert [spec.choices(state, 2, fit=Fit.NEXT, cursor=cursor) for cursor in (0, 5, 11)] == [[0], [7], [0]]
    assert spec.choices(state, 2, fit=Fit.BEST) == [0, 7]
    assert spec.choices(state, 2, fit=Fit.BEST, tie=Tie.LOWEST) == [0]
    assert spec.choices(state, 2, fit=Fit.BEST, tie=Tie.NEWEST) == [0]
    assert spec.choices(state, 2, fit=Fit.BEST, tie=Tie.NEWEST, ages_known=False) == [0, 7]
    assert spec.choices(state, 2, Bounds(lo=1), fit=Fit.BEST, tie=Tie.NEWEST) == [7]
    assert spec.choices(state, 2, fit=Fit.CLASS_BEST) == [0]
    assert spec.choices(state, 2, fit=Fit.CLASS_BEST, ages_known=False) == [0, 7]
    assert spec.choices(state, 2, fit=Fit.INSTANT, ages_known=False) == [0, 3, 7, 10]
    assert spec.choices(state, 7, fit=Fit.INSTANT) == []
    assert sorted(range(4), key=list(state.births.values()).__getitem__) == [1, 2, 0, 3]


def test_arenas_come_and_go() -> None:
    """Arenas may touch but not overlap, and only one that is wholly free may leave."""
    state = spec.enter(spec.enter(spec.State(1), 4, 4), 0, 4)
    with pytest.raises(SpanOverlapError, match="overlaps the arena"):
        spec.enter(state, 3, 2)
    assert state.holes == ((0, 4), (4, 4))
    assert spec.places(state, 5) == []
    busy = spec.take(state, 0, 1)
    for base, size, why in ((0, 4, "not wholly free"), (4, 2, "no arena"), (1, 3, "no arena"), (9, 1, "no arena")):
        with pytest.raises(SpanOverlapError, match=why):
            spec.leave(busy, base, size)
    assert spec.leave(busy, 4, 4).mapped == 4
    assert spec.arena_at(busy, 8) is None
    assert busy.mapped == 8


@pytest.mark.parametrize(("base", "size"), [(0, 1), (3, 2), (7, 2), (9, 1), (1, 0)])
def test_what_is_not_free_cannot_be_taken(base: int, size: int) -> None:
    """A range that is busy, crosses an arena's end, lies outside or is empty cannot be taken."""
    state = spec.take(spec.enter(spec.enter(spec.State(1), 0, 4), 4, 4), 0, 1)
    with pytest.raises(SpanOverlapError):
        spec.take(state, base, size)


@pytest.mark.parametrize(("base", "size"), [(1, 1), (0, 2), (3, 2), (9, 1)])
def test_what_is_not_busy_cannot_be_given(base: int, size: int) -> None:
    """A range that is wholly or partly free, crosses an arena's end or lies outside cannot be given back."""
    state = spec.take(spec.enter(spec.State(1), 0, 4), 0, 1)
    with pytest.raises(SpanOverlapError):
        spec.give(state, base, size)


def test_buddies_blocks_lie_on_multiples_of_their_size_from_their_arena_and_keep_bounds() -> None:
    """In an arena at 0x1000 blocks of two pages begin at 0x1000 and 0x3000, so none is aligned to 0x2000."""
    page = 4096
    state = spec.enter(spec.State(page, Geometry.BUDDY), page, 4 * page)
    assert spec.places(state, 2 * page) == [0x1000, 0x3000]
    assert spec.places(state, 2 * page, Bounds(align=2 * page)) == []
    assert spec.places(state, page, Bounds(align=2 * page)) == [0x2000, 0x4000]
    assert spec.places(state, 4 * page, Bounds(align=2 * page, phase=page)) == [0x1000]
    assert not spec.must_serve(state, 2 * page, Bounds(align=2 * page), Completeness.EXACT)


def test_class_completeness_may_overlook_a_hole_of_the_requests_own_class() -> None:
    """A class-complete space may overlook a hole of the request's own class, and any under constraints."""
    state = spec.enter(spec.State(1), 0, 40)
    assert not spec.must_serve(state, 33, Bounds(), Completeness.CLASS)
    assert spec.must_serve(state, 33, Bounds(), Completeness.EXACT)
    assert spec.must_serve(state, 20, Bounds(), Completeness.CLASS)
    assert not spec.must_serve(state, 20, Bounds(lo=1), Completeness.CLASS)
    assert not spec.must_serve(state, 41, Bounds(), Completeness.CLASS)


@pytest.mark.parametrize(
    ("size", "bounds", "completeness", "expected"),
    [
        (5, Bounds(), Completeness.EXACT, 8),
        (5, Bounds(lo=1), Completeness.EXACT, 0),
        (5, Bounds(hi=99), Completeness.EXACT, 0),
        (5, Bounds(align=8), Completeness.EXACT, 24),
        (4, Bounds(align=8, phase=6, nocross=8), Completeness.EXACT, 0),
        (33, Bounds(), Completeness.CLASS, 64),
        (34, Bounds(), Completeness.CLASS, 64),
        (32, Bounds(), Completeness.CLASS, 32),
    ],
)
def test_an_arena_is_sure_to_admit_a_request_or_none_is(
    size: int, bounds: Bounds, completeness: Completeness, expected: int
) -> None:
    """The sure size of an arena is a multiple of its granule, or 0 where no size is sure."""
    given = spec.sure_arena(size, bounds, quantum=1, granule=4, geometry=Geometry.ANY, completeness=completeness)
    assert given == expected
