"""The laws that every metric of holes obeys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc.metrics import (
    availability,
    external_fragmentation,
    fragmentation_index,
    internal_fragmentation,
    johnstone_wilson,
    quadratic_fragmentation,
    regret,
    root_fragmentation,
    unusable_free_index,
    utilisation,
)

HOLES = st.lists(st.one_of(st.integers(1, 64), st.integers(1, 2**60)), min_size=1, max_size=12)
LOSSES = pytest.mark.parametrize("loss", [external_fragmentation, quadratic_fragmentation, root_fragmentation])
Loss = Callable[[Sequence[int]], float]
TINY = 1e-12


@LOSSES
@given(holes=HOLES)
def test_a_loss_is_a_share(loss: Loss, holes: list[int]) -> None:
    """Each loss lies in [0, 1] and is 0 for one hole."""
    assert 0 <= loss(holes) <= 1
    assert loss(holes[:1]) == 0


@LOSSES
@given(holes=HOLES, scale=st.integers(1, 2**30))
def test_a_loss_is_scale_free(loss: Loss, holes: list[int], scale: int) -> None:
    """Multiplying all sizes by one number does not change a loss."""
    assert loss([size * scale for size in holes]) == pytest.approx(loss(holes), abs=TINY)


@LOSSES
@given(holes=HOLES, data=st.data())
def test_splitting_a_hole_never_lowers_a_loss_and_joining_two_never_raises_it(
    loss: Loss, holes: list[int], data: st.DataObject
) -> None:
    """Splitting a hole never lowers a loss, so joining two never raises it."""
    index = data.draw(st.integers(0, len(holes) - 1))
    if holes[index] > 1:
        part = data.draw(st.integers(1, holes[index] - 1))
        split = [*holes[:index], part, holes[index] - part, *holes[index + 1 :]]
        assert loss(split) >= loss(holes) - TINY


@given(holes=HOLES, size=st.integers(1, 2**61), factor=st.integers(1, 8))
def test_availability_is_a_share_that_no_multiple_raises(holes: list[int], size: int, factor: int) -> None:
    """Availability is a share, is 1 for requests of one unit, and never rises for a multiple of the request."""
    assert 0 <= availability(holes, size) <= 1
    assert availability(holes, 1) == 1
    assert availability(holes, size * factor) <= availability(holes, size) + TINY


@given(holes=HOLES, size=st.integers(1, 2**61), more=st.integers(0, 2**61))
def test_the_unusable_free_index_is_a_share_that_grows_with_the_request(holes: list[int], size: int, more: int) -> None:
    """The index is 0 for one unit, never falls as the request grows, and is 1 above the largest hole."""
    assert 0 <= unusable_free_index(holes, size) <= unusable_free_index(holes, size + more) <= 1
    assert unusable_free_index(holes, 1) == 0
    assert unusable_free_index(holes, max(holes) + 1) == 1


@given(holes=HOLES, size=st.integers(1, 2**61), scale=st.integers(1, 2**20))
def test_the_fragmentation_index_speaks_of_failures_below_one(holes: list[int], size: int, scale: int) -> None:
    """The index exists only for a request that fails, is below 1, and does not depend on the scale."""
    index = fragmentation_index(holes, size)
    assert (index is None) == (max(holes) >= size)
    if index is not None:
        assert -1 / len(holes) - TINY <= index < 1
        assert fragmentation_index([h * scale for h in holes], size * scale) == pytest.approx(index, abs=TINY)


@given(live=st.lists(st.integers(1, 2**40), min_size=1, max_size=20), data=st.data())
def test_measures_of_a_run_are_waste_over_what_is_live(live: list[int], data: st.DataObject) -> None:
    """The measures of a run are >= 0, are 0 without waste, and utilisation is the inverse of regret."""
    mapped = [size + data.draw(st.integers(0, 2**40)) for size in live]
    four = johnstone_wilson(live, mapped)
    assert min(four.mean, four.at_peak_live, four.at_peak_mapped, four.peaks) >= 0
    none = johnstone_wilson(live, live)
    assert (none.mean, none.at_peak_live, none.at_peak_mapped, none.peaks) == (0, 0, 0, 0)
    assert 0 < utilisation(live, max(mapped)) <= 1
    assert regret(live, max(mapped)) == pytest.approx(1 / utilisation(live, max(mapped)))
    assert 0 <= internal_fragmentation(min(live), max(live)) <= 1
