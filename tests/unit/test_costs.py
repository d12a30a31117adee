"""Prices."""

from __future__ import annotations

import attrs
import pytest

from coalloc import COSTS, CostModel, InvalidRequestError, MapCounters
from coalloc.vm.costs import EVENTS, Price, SpaceWork
from coalloc.vm.measuring import measure


def test_every_price_has_a_source_and_the_presets_say_where_they_are_from() -> None:
    """Every price names its source, and every preset says where it was measured."""
    for model in COSTS.values():
        assert set(model.prices) == set(EVENTS)
        assert all(price.source for price in model.prices.values())
        assert model.measured_on


def test_an_estimate_is_the_sum_of_counts_times_prices() -> None:
    """An estimate is the sum of counts times prices, and its text says that it is an estimate."""
    model = COSTS["measured"]
    expected = 3 * model.prices["map_ops"].ns + 2 * model.prices["faults"].ns + 5 * model.prices["carves"].ns
    estimate = model.estimate(MapCounters(map_ops=3, faults=2), SpaceWork(carves=5))
    assert estimate.ns == expected
    assert str(estimate).startswith(f"estimated {expected / 1e6:,.3f} ms (prices 'measured': AMD")
    assert model.estimate(MapCounters()).ns == 0
    everything = MapCounters(**dict.fromkeys(EVENTS[:-3], 1))
    assert COSTS["unit"].estimate(everything, SpaceWork(1, 1, 1)).ns == len(EVENTS)


def test_incomplete_models_are_refused_and_complete_ones_stay_as_they_are() -> None:
    """A model without all prices, or a negative price, is refused, and a preset cannot be changed."""
    with pytest.raises(TypeError):
        COSTS["unit"].prices["map_ops"] = Price(99, "me")  # type: ignore[index]
    assert len({hash(model) for model in COSTS.values()}) == len(COSTS)
    with pytest.raises(InvalidRequestError):
        CostModel("half", {"map_ops": Price(1, "x")}, "nowhere")
    with pytest.raises(InvalidRequestError):
        Price(-1, "x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        COSTS["unit"].name = "other"  # type: ignore[misc]


def test_measuring_gives_a_complete_model() -> None:
    """Measuring a host gives a complete model."""
    model = measure(calls=5, rounds=1)
    assert set(model.prices) == set(EVENTS)
    assert "Python" in model.measured_on
    for arguments in ({"calls": 0}, {"rounds": 0}, {"calls": True}):
        with pytest.raises(InvalidRequestError):
            measure(**arguments)
