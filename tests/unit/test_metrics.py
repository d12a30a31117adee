"""Metrics: values worked out by hand, and input."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coalloc import InvalidRequestError
from coalloc.metrics import (
    availability,
    external_fragmentation,
    fragmentation_index,
    growth_exponent,
    internal_fragmentation,
    johnstone_wilson,
    quadratic_fragmentation,
    regret,
    root_fragmentation,
    unusable_free_index,
    utilisation,
)


def test_the_formulas() -> None:
    """The formulas give the values that are computed by hand for holes of 2, 3 and 5."""
    holes = [2, 3, 5]
    assert external_fragmentation(holes) == 0.5
    assert quadratic_fragmentation(holes) == pytest.approx(1 - 38 / 100)
    assert root_fragmentation(holes) == pytest.approx(1 - math.sqrt(38) / 10)
    assert unusable_free_index(holes, 4) == 0.5
    assert availability(holes, 2) == pytest.approx(0.8)
    assert fragmentation_index(holes, 6) == pytest.approx(1 - (1 + 10 / 6) / 3)
    assert fragmentation_index(holes, 5) is None
    assert internal_fragmentation(5000, 8192) == pytest.approx(3192 / 8192)
    assert utilisation([1, 4, 2], 8) == 0.5
    assert regret([1, 4, 2], 8) == 2.0


def test_nothing_free_and_nothing_live_are_defined() -> None:
    """With nothing free there is no loss, everything is available, and no failure index."""
    assert [m([]) for m in (external_fragmentation, quadratic_fragmentation, root_fragmentation)] == [0.0, 0.0, 0.0]
    assert (unusable_free_index([], 1), availability([], 1), fragmentation_index([], 1)) == (0.0, 1.0, None)
    assert (internal_fragmentation(0, 0), utilisation([], 0)) == (0.0, 1.0)


def test_johnstone_and_wilsons_four() -> None:
    """The four measures take waste by the means, at the peak of live bytes, at that of mapped bytes, and of the peaks."""
    four = johnstone_wilson([10, 40, 20, 0], [20, 50, 80, 80])
    assert four.mean == pytest.approx(230 / 70 - 1)
    assert (four.at_peak_live, four.at_peak_mapped, four.peaks) == (0.25, math.inf, 1.0)
    assert johnstone_wilson([3], [3]).peaks == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: external_fragmentation([0]), lambda: quadratic_fragmentation([-1]), lambda: root_fragmentation([1.5]),  # type: ignore[list-item]
        lambda: availability([1], 0), lambda: unusable_free_index([1], -1), lambda: fragmentation_index([1], 0),
        lambda: internal_fragmentation(2, 1), lambda: internal_fragmentation(-1, 1), lambda: utilisation([9], 8),
        lambda: regret([], 8), lambda: johnstone_wilson([1], [1, 2]), lambda: johnstone_wilson([0], [1]),
    ],
)  # fmt: skip
def test_input_outside_its_range_is_refused(call: Any) -> None:
    """Input outside its range is refused."""
    with pytest.raises(InvalidRequestError):
        call()


@pytest.mark.parametrize("points", [[], [(5, 1)], [(5, 1), (5, 2)], [(0, 1), (5, 2)]])
def test_growth_needs_two_different_sizes(points: list[tuple[int, float]]) -> None:
    """A growth exponent without two different positive sizes is refused."""
    with pytest.raises(InvalidRequestError, match="points"):
        growth_exponent(points)
