"""Prices."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from coalloc import COSTS, CostModel, InvalidRequestError, MapCounters
from coalloc.report.measurements import benchmark_json, write_ministat
from coalloc.vm.costs import EVENTS, Price, SpaceWork, load_costs, save_costs
from coalloc.vm.measuring import FURTHER, Measurement, measure, measure_samples


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
    """Measuring a host gives a complete model, with a sample of each price for each round."""
    model = measure(calls=5, rounds=1)
    assert set(model.prices) == set(EVENTS)
    assert "Python" in model.measured_on
    told: list[int] = []
    measured = measure_samples(calls=5, rounds=3, progress=told.append)
    assert told == [1, 2, 3, 4, 5, 6]
    assert set(measured.samples) == {event for event, price in model.prices.items() if "mmap" in price.source} | {
        *("unmap_ops", "discard_ops", "faults", "pages_freed", "ipis", "cache_hits", "carves", "coalesces"),
        *FURTHER,
    }
    assert {len(of) for of in measured.samples.values()} == {3}
    assert min(map(min, measured.samples.values())) >= 0
    for arguments in ({"calls": 0}, {"rounds": 0}, {"calls": True}):
        with pytest.raises(InvalidRequestError):
            measure(**arguments)


def test_medians_are_the_prices_and_quartiles_their_spread() -> None:
    """What is only part of another price has none of its own."""
    measured = Measurement({"map_ops": (5.0, 1.0, 3.0, 9.0), "lock": (7.0,)}, "here, today")
    model = measured.model("mine")
    assert (model.name, model.measured_on) == ("mine", "here, today")
    assert (model.prices["map_ops"].ns, model.prices["map_ops"].quartiles) == (4.0, (2.5, 6.0))
    assert (model.prices["faults"].ns, model.prices["faults"].quartiles) == (0.0, None)
    assert measured.quartiles("lock") == (7.0, 7.0)


def test_prices_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """With their sources and their spread, whether known or not."""
    for model in (COSTS["measured"], Measurement({"map_ops": (5.0, 1.0)}, "x").model()):
        save_costs(model, tmp_path / "prices.json")
        assert load_costs(tmp_path / "prices.json") == model


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no JSON": lambda _: "{",
    "a list": lambda _: [],
    "without prices": lambda record: {"name": "x"},  # noqa: ARG005
    "a price less": lambda record: record | {"prices": dict(list(record["prices"].items())[1:])},
    "a price below 0": lambda record: record | {"prices": record["prices"] | {"faults": {"ns": -1, "source": ""}}},
    "a word for a price": lambda record: record | {"prices": record["prices"] | {"faults": {"ns": "x", "source": ""}}},
    "not a number": lambda record: (
        record | {"prices": record["prices"] | {"faults": {"ns": float("nan"), "source": ""}}}
    ),
    "three quartiles": lambda record: (
        record | {"prices": record["prices"] | {"faults": {"ns": 1, "source": "", "quartiles": [1, 2, 3]}}}
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_holds_no_prices_is_refused(kind: str, tmp_path: Path) -> None:
    """In one line that names the file."""
    file = tmp_path / "prices.json"
    save_costs(COSTS["measured"], file)
    broken = BROKEN[kind](json.loads(file.read_text()))
    file.write_text(broken if isinstance(broken, str) else json.dumps(broken))
    with pytest.raises(InvalidRequestError, match=r"prices\.json"):
        load_costs(file)


def test_a_model_can_be_pickled() -> None:
    """So that processes can be given it."""
    assert pickle.loads(pickle.dumps(COSTS["measured"])) == COSTS["measured"]


def test_other_tools_read_the_samples(tmp_path: Path) -> None:
    """A column of numbers for ministat, and seconds for pytest-benchmark."""
    measured = Measurement({"map_ops": (3000.0, 1000.0, 2000.0), "lock": (7.0,)}, "here, 2026-11-27")
    write_ministat(dict(measured.samples), tmp_path / "a" / "samples")
    assert (tmp_path / "a" / "samples" / "map_ops").read_text() == "3000.000\n1000.000\n2000.000\n"
    first, second = benchmark_json(measured)["benchmarks"]
    assert (first["name"], first["stats"]["median"], first["stats"]["rounds"]) == ("map_ops", 2e-6, 3)
    assert (second["stats"]["stddev"], second["stats"]["q1"]) == (0.0, 7e-9)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequestError, match="is no folder"):
        write_ministat({}, tmp_path / "file")
