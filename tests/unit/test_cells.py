"""The oracle: its answers where they can be counted by hand, and bad input."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    BadFreeError,
    CellSpace,
    Extent,
    Fit,
    FreeFault,
    InvalidRequestError,
    Kind,
    NoSpaceError,
    SpanOverlapError,
)
from coalloc.contract import Coalescing, Geometry, Resize
from coalloc.errors import Change, Remedy, Rule


def comb(fit: Fit = Fit.FIRST) -> CellSpace:
    """Make busy cells at 2, 6 and 9, with holes of 2 (at 0), 3 (at 3), 2 (at 7) and 6 (at 10), in the order 3, 7, 0, 10."""
    oracle = CellSpace(16, quantum=1, fit=fit)
    for base, size in ((0, 2), (2, 1), (3, 3), (6, 1), (7, 2), (9, 1)):
        oracle.put(base, size)
    for base in (3, 7, 0):
        oracle.free(base)
    oracle.put(15, 1)
    oracle.free(15)
    return oracle


def test_every_fit_picks_its_hole() -> None:
    """Each fit picks its hole: first and best by definition, next from the cursor, and vmem's two by class."""
    oracle = comb()
    assert oracle.holes() == [(0, 2), (3, 3), (7, 2), (10, 6)]
    fits = (Fit.FIRST, Fit.LAST, Fit.BEST, Fit.WORST, Fit.NEXT, Fit.INSTANT, Fit.CLASS_BEST)
    assert set(fits) == set(Fit)
    assert [oracle.choose(2, fit) for fit in fits] == [0, 10, 0, 10, 0, 0, 0]
    assert [oracle.choose(3, fit) for fit in fits] == [3, 10, 3, 10, 3, 3, 3]
    oracle.cursor = 5
    assert [oracle.choose(2, fit) for fit in fits] == [0, 10, 0, 10, 7, 0, 0]
    oracle.cursor = 11
    assert oracle.choose(2, Fit.NEXT) == 0
    assert oracle.choose(7, Fit.BEST) is None
    assert oracle.choose(2, Fit.BEST, lo=1) == 7
    assert oracle.choose(2, Fit.FIRST, align=4, lo=1) == 4
    assert oracle.choose(2, Fit.INSTANT, lo=1, hi=5) == 3


def test_instant_fit_asks_the_classes_whose_members_all_fit_first() -> None:
    """For 33 units instant fit takes a hole of 64 or more first, and one of 32 to 63 if there is none."""
    oracle = CellSpace(300, quantum=1)
    oracle.put(0, 40)
    oracle.put(40, 1)
    oracle.put(41, 259)
    oracle.free(0)
    assert (oracle.choose(33, Fit.INSTANT), oracle.choose(33, Fit.CLASS_BEST)) == (0, 0)
    oracle.free(41)
    assert (oracle.choose(33, Fit.INSTANT), oracle.choose(33, Fit.CLASS_BEST)) == (41, 0)
    assert oracle.choose(32, Fit.INSTANT) == 0


def test_a_space_of_its_own() -> None:
    """The oracle is a space with alloc, resize, reserve, free, figures and pictures."""
    oracle = CellSpace(8, quantum=1, fit=Fit.BEST)
    a, b = oracle.alloc(2), oracle.xalloc(2, align=4)
    assert (a, b) == (0, 4)
    assert oracle.resize(a, 4) == 0
    assert oracle.resize(a, 4) == 0
    assert oracle.resize(a, 1) == 0
    assert oracle.resize(b, 3) == 4
    moved = oracle.resize(a, 1)
    oracle.reserve(Extent(1, 1))
    assert oracle.resize(moved, 2) == 2
    assert oracle.size_of(2) == 2
    assert oracle.render(4) == "0x0 |.###|\n0x4 |###.|"
    assert [(s.base, s.size) for s in oracle.segments() if s.kind is Kind.BUSY] == [(1, 1), (2, 2), (4, 3)]
    stats = oracle.stats()
    assert (stats.live, stats.cached, stats.free, stats.holes, stats.largest_hole) == (6, 0, 2, 2, 1)
    assert (stats.resizes_in_place, stats.resizes_moved, stats.mapped, oracle.reclaim()) == (3, 1, 8, 0)
    oracle.free(2)
    oracle.touch(0, 1)
    oracle.discard(0, 1)
    oracle.check()
    with pytest.raises(NoSpaceError):
        oracle.resize(1, 7)
    assert oracle.contract.coalescing is Coalescing.IMMEDIATE
    assert oracle.contract.resize is Resize.IN_PLACE


def test_a_space_of_nothing() -> None:
    """A space of size 0 has no arena and no place, and its picture says so."""
    oracle = CellSpace(0, quantum=1)
    assert oracle.render() == "no arena is mapped"
    assert (oracle.kva_limit, oracle.segments(), oracle.places(1)) == (0, (), [])
    with pytest.raises(NoSpaceError):
        oracle.alloc(1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": -1}, {"size": 1.5}, {"size": 3, "quantum": 2}, {"size": 4, "quantum": 3}, {"size": 4, "base": -4},
        {"size": 4, "base": 1, "quantum": 4},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    """A bad argument of the constructor is refused."""
    with pytest.raises(InvalidRequestError):
        CellSpace(**arguments)


@pytest.mark.parametrize(
    "bounds",
    [
        {"align": 3}, {"align": -1}, {"align": True}, {"phase": 1}, {"align": 4, "phase": 4}, {"nocross": 3}, {"nocross": 1},
        {"lo": 5, "hi": 4},
    ],
)  # fmt: skip
def test_bad_constraints_are_refused(bounds: dict[str, Any]) -> None:
    """The oracle refuses bad constraints, sizes and ranges."""
    oracle = CellSpace(8, quantum=1)
    with pytest.raises(InvalidRequestError):
        oracle.xalloc(2, **bounds)
    for size in (0, 1.5, True, 2**64):
        with pytest.raises(InvalidRequestError):
            oracle.alloc(size)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        CellSpace(8, quantum=4).reserve(Extent(1, 4))
    assert CellSpace(8, quantum=4).alloc(1) == 0
    oracle.alloc(2)
    with pytest.raises(SpanOverlapError):
        oracle.put(1, 2)


def test_bad_frees_are_told_apart() -> None:
    """The error tells apart a buffer freed already, an address inside one, one never handed out, and no address."""
    oracle = CellSpace(32, quantum=4)
    a, b = oracle.alloc(8), oracle.alloc(4)
    oracle.free(b)
    for address, fault in (
        (b, FreeFault.FREED_TWICE), (a + 4, FreeFault.INSIDE_BUFFER), (a + 1, FreeFault.INSIDE_BUFFER),
        (a + 5, FreeFault.INSIDE_BUFFER), (20, FreeFault.NEVER_ALLOCATED),
    ):  # fmt: skip
        with pytest.raises(BadFreeError) as caught:
            oracle.free(address)
        assert caught.value.fault is fault
    with pytest.raises(InvalidRequestError):
        oracle.free(0.0)  # type: ignore[arg-type]


def test_a_refusal_names_the_rule_for_every_hole() -> None:
    """A refusal names for every hole the first rule that leaves no place in it."""
    oracle = comb()
    with pytest.raises(NoSpaceError) as caught:
        oracle.xalloc(3, lo=4, hi=14, align=8, nocross=8)
    rules = {verdict.base: verdict.rule for verdict in caught.value.explain().verdicts}
    assert rules == {0: Rule.SIZE, 3: Rule.LO, 7: Rule.SIZE, 10: Rule.ALIGN}
    with pytest.raises(NoSpaceError) as caught:
        oracle.xalloc(4, lo=0, hi=12)
    assert caught.value.explain().verdicts[-1].rule is Rule.HI
    with pytest.raises(NoSpaceError) as caught:
        oracle.xalloc(4, lo=11, hi=14, nocross=4)
    assert caught.value.explain().verdicts[-1].rule is Rule.NOCROSS
    with pytest.raises(NoSpaceError) as caught:
        oracle.alloc(7)
    assert caught.value.explain().remedies == (Remedy(Change.SIZE, 6),)


def test_buddies_holes_are_the_largest_aligned_blocks() -> None:
    """The holes of a buddy arena are the largest aligned free blocks."""
    oracle = CellSpace(14, quantum=1, geometry=Geometry.BUDDY, fit=Fit.BEST)
    assert oracle.holes() == [(0, 8), (8, 4), (12, 2)]
    oracle.put(1, 1)
    assert oracle.holes() == [(0, 1), (2, 2), (4, 4), (8, 4), (12, 2)]
    assert oracle.alloc(3) == 4
    assert oracle.size_of(4) == 4
    assert oracle.contract.geometry is Geometry.BUDDY
    assert [s.size for s in oracle.segments()] == [1, 1, 2, 4, 4, 2]
    oracle.check()
