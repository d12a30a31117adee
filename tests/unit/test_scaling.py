"""The laws of scalability: terms that are known are found again."""

from __future__ import annotations

import math

import pytest

from coalloc.errors import InvalidRequestError
from coalloc.sched.scaling import Scaling, fit_amdahl, fit_usl

CPUS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    "law",
    [Scaling(1e6, 0.1, 0.002, 0), Scaling(5.0, 0.0, 0.01, 0), Scaling(300.0, 0.5, 0.0, 0), Scaling(7.0, 0.0, 0.0, 0)],
)
def test_the_terms_of_points_on_a_law_are_found(law: Scaling) -> None:
    """And nothing is off."""
    found = fit_usl([(cpus, law.throughput(cpus)) for cpus in CPUS])
    assert found.rate == pytest.approx(law.rate)
    assert found.serial == pytest.approx(law.serial, abs=1e-9)
    assert found.exchange == pytest.approx(law.exchange, abs=1e-9)
    assert found.error < 1e-9


def test_the_knee_is_where_throughput_is_most() -> None:
    """It lies between its neighbours; without exchange there is none."""
    law = Scaling(100.0, 0.05, 0.001, 0)
    best = max(range(1, 200), key=law.throughput)
    assert abs(law.knee - best) < 1
    assert math.isinf(Scaling(100.0, 0.05, 0.0, 0).knee)


def test_two_points_determine_two_terms_at_most() -> None:
    """The one that fits is found, and no third one is made up."""
    law = fit_usl([(1, 100.0), (4, 250.0)])
    assert law.error < 1e-9
    assert not (law.serial and law.exchange)


def test_amdahls_law_says_serial_where_throughput_falls() -> None:
    """It cannot fall itself: all of the work is serial then, and the law is off."""
    law = fit_amdahl([(1, 100.0), (2, 60.0), (4, 30.0)])
    assert (law.serial, law.exchange) == (1.0, 0.0)
    assert law.throughput(1) == law.throughput(4) > 30
    assert law.error > 0.2


def test_growth_beyond_the_number_of_cpus_leaves_terms_out() -> None:
    """A term that would be negative is 0."""
    law = fit_usl([(1, 100.0), (2, 210.0), (4, 430.0)])
    assert (law.serial, law.exchange) == (0.0, 0.0)
    assert law.error < 0.05


@pytest.mark.parametrize(
    "points",
    [[], [(1, 5.0)], [(2, 5.0), (2, 6.0)], [(0, 5.0), (1, 5.0)], [(1, 0.0), (2, 5.0)], [(1, math.nan), (2, 1.0)]],
)
def test_too_few_points_are_refused(points: list[tuple[int, float]]) -> None:
    """And those that are none."""
    with pytest.raises(InvalidRequestError):
        fit_usl(points)
