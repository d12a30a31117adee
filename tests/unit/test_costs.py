"""Prices."""

from __future__ import annotations

import attrs
import pytest

from coalloc import COSTS, CostModel, InvalidRequestError
from coalloc.vm.costs import EVENTS, Price, measure


def test_every_price_has_a_source_and_the_presets_say_where_they_are_from() -> None:
    """No number without a name."""
    for model in COSTS.values():
        assert set(model.prices) == set(EVENTS)
        assert all(price.source for price in model.prices.values())
        assert model.measured_on


def test_an_estimate_is_the_sum_of_counts_times_prices() -> None:
    """Events that are not named count 0."""
    model = COSTS["measured"]
    expected = 3 * model.prices["map_ops"].ns + 2 * model.prices["faults"].ns
    assert model.estimate({"map_ops": 3, "faults": 2}) == expected
    assert model.estimate({}) == 0


def test_unknown_events_and_incomplete_models_are_refused() -> None:
    """A misspelt counter does not vanish."""
    with pytest.raises(InvalidRequestError):
        COSTS["unit"].estimate({"map_op": 1})
    with pytest.raises(InvalidRequestError):
        CostModel("half", {"map_ops": Price(1, "x")}, "nowhere")
    with pytest.raises(InvalidRequestError):
        Price(-1, "x")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        COSTS["unit"].name = "other"  # type: ignore[misc]


def test_measuring_gives_a_complete_model() -> None:
    """What a host measures is a model like the presets; the numbers are the host's affair."""
    model = measure(calls=5, rounds=1)
    assert set(model.prices) == set(EVENTS)
    assert "Python" in model.measured_on
    for arguments in ({"calls": 0}, {"rounds": 0}, {"calls": True}):
        with pytest.raises(InvalidRequestError):
            measure(**arguments)
