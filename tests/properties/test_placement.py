"""Constrained placement, and rounding of every kind, against the oracle's trial of every quantum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coalloc.contract import Bounds
from coalloc.errors import Rule
from coalloc.space.cells import CellSpace
from coalloc.space.placement import Placement

POWERS = st.sampled_from([0, 1, 2, 4, 8, 16])


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, dict[str, int]]:
    """Draw a legal request in units of one byte."""
    size = draw(st.integers(1, 8))
    align = draw(POWERS)
    nocross = draw(POWERS.filter(lambda n: n == 0 or n >= size))
    lo = draw(st.integers(0, 40))
    hi = draw(st.one_of(st.just(2**64 - 1), st.integers(lo, 60)))
    return size, {
        "align": align,
        "phase": draw(st.integers(0, max(align - 1, 0))),
        "nocross": nocross,
        "lo": lo,
        "hi": hi,
    }


@given(requests(), st.integers(0, 40), st.integers(1, 24))
def test_the_lowest_place_in_a_hole_is_the_one_that_trying_every_address_finds(
    request: tuple[int, dict[str, int]], base: int, length: int
) -> None:
    """Placement finds the lowest place that a scan finds, or names a rule that the request makes."""
    size, bounds = request
    placement = Placement.of(size, 1, Bounds(**bounds))
    places = CellSpace(length, base=base, quantum=1).places(size, **bounds)
    assert placement.start_in(base, length) == (places[0] if places else -1)
    if not places:
        rule = placement.rule_against(base, length)
        without = {
            Rule.SIZE: {},
            Rule.LO: bounds | {"lo": 0},
            Rule.HI: bounds | {"hi": 2**64 - 1},
            Rule.ALIGN: bounds | {"align": 0, "phase": 0},
            Rule.NOCROSS: bounds | {"nocross": 0},
        }[rule]
        assert rule is not Rule.SIZE or length < size
        assert rule is Rule.SIZE or without != bounds


@given(requests(), st.integers(0, 64))
def test_a_hole_of_the_sure_size_admits_the_request_wherever_it_lies(
    request: tuple[int, dict[str, int]], base: int
) -> None:
    """A hole of the sure size admits the request at every address if and only if the request is possible."""
    size, bounds = request
    placement = Placement.of(size, 1, Bounds(bounds["align"], bounds["phase"], bounds["nocross"]))
    admits = placement.start_in(base, placement.sure_size) >= 0
    assert admits == placement.possible
