"""The scenario contention: every load on every kind of kernel; figures that add up; designs that differ as they must."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from coalloc import DESIGNS, ERAS
from coalloc.errors import InvalidRequestError
from coalloc.pipes.states import STATES
from coalloc.scenarios import SCENARIOS
from coalloc.scenarios.contention import LOADS, Contention, ContentionResult, run_contention
from coalloc.scenarios.options import Counts
from coalloc.scenarios.result import Table
from coalloc.vm.costs import COSTS


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("design", ["per-pipe", "coalescing", "dragonfly", "netbsd", "linux"])
def test_every_load_runs_and_adds_up(load: str, design: str) -> None:
    """On one CPU and on several; equal seeds give equal figures."""
    for cpus in (1, 6):
        one, two = (run_contention(ERAS["2004-01"], DESIGNS[design], cpus, load=load, operations=300) for _ in range(2))
        assert (one.measured.findings, one.measured.violations()) == ((), ())
        assert one.measured.count == 300
        assert one == two


def test_one_mapping_for_each_buffer_does_not_scale_and_arenas_scale_further() -> None:
    """The map's lock is held all the time; arenas make more calls a second at any number of CPUs."""
    for cpus in (1, 8):
        mapped, carved = (
            run_contention(ERAS["current"], DESIGNS[name], cpus, operations=1500) for name in ("per-pipe", "coalescing")
        )
        assert carved.measured.throughput > 5 * mapped.measured.throughput
    assert mapped.busiest.name == "user map"
    assert mapped.busiest.hold_ns > 0.9 * mapped.measured.elapsed
    alone = run_contention(ERAS["current"], DESIGNS["per-pipe"], 1, operations=1500)
    assert mapped.measured.throughput < alone.measured.throughput


def test_a_cache_on_each_cpu_needs_no_lock_of_the_map() -> None:
    """DragonFly's cache serves pipes that come and go; NetBSD's, which all CPUs share, waits for the map's lock."""
    cached, shared = (
        run_contention(ERAS["current"], DESIGNS[name], 4, load="create", operations=1500)
        for name in ("dragonfly", "netbsd")
    )
    assert "system map" not in {use.name for use in cached.measured.locks if use.acquisitions > 20}
    assert shared.busiest.name == "system map"


def test_the_state_of_linux_is_the_one_that_is_asked_for() -> None:
    """Though the design has one of its own."""
    assert run_contention(STATES["linux-7.2"], DESIGNS["linux"], 1, operations=50).state == "linux-7.2"
    assert run_contention(ERAS["2006"], DESIGNS["linux"], 1, operations=50).state == "linux"


def test_the_scenario_tells_figures_laws_and_where_time_goes() -> None:
    """Text, JSON and a chart from the same numbers."""
    result = SCENARIOS["contention"].call(cpus="1,2,4", design="per-pipe,linux", operations=500)
    text = result.text()
    assert result.failure == ""
    assert "scalability law: " in text
    assert "per-pipe, current: where the time of 4 CPUs goes" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    data = json.loads(json.dumps(result.as_json()))
    assert [each["design"] for each in data] == ["per-pipe", "linux"]
    assert [run["cpus"] for run in data[0]["runs"]] == [1, 2, 4]
    assert data[0]["runs"][0]["latency_ns"]["all"]["count"] == 500
    assert data[0]["usl"]["knee"] is not None
    assert (data[1]["usl"]["knee"], data[1]["amdahl"]["serial"]) == (None, 0)
    (chart,) = result.charts
    assert [line.dashed for line in chart.lines] == [False, True, False, True]
    assert len(chart.lines[0].points) == 3
    single = SCENARIOS["contention"].call(cpus="3", design="coalescing", operations=100)
    assert "law" not in single.text()
    assert [line.dashed for line in single.charts[0].lines] == [False]


def test_progress_is_told_for_each_run() -> None:
    """One for each design and number of CPUs."""
    told: list[int] = []

    class Tells:
        @contextmanager
        def task(self, text: str, total: int | None) -> Iterator[Any]:  # noqa: ARG002 (nothing is shown)
            yield told.append

        def say(self, text: str) -> None:
            pass

    scenario = SCENARIOS["contention"]
    scenario.start(scenario.read({"cpus": "1,2", "design": "coalescing", "operations": 50}), Tells())
    assert told == [1, 2]


def test_a_run_that_cannot_go_on_is_a_failure() -> None:
    """And says which, and why."""
    good = run_contention(ERAS["current"], DESIGNS["coalescing"], 1, operations=50)
    broken = Contention("made up", "state", 2, attrs.evolve(good.measured, latency_ns=1))
    result = ContentionResult((good, broken), "cycle", 50, COSTS["unit"])
    assert result.failure.startswith("made up on 2 CPUs: S1")
    assert all(isinstance(part, str | Table) for part in result.parts())


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ("1,2,4,...,32", (1, 2, 4, 8, 16, 32)),
        ("1, 2, ..., 7", (1, 2, 4, 7)),
        ("10,20,30,...,50", (10, 20, 30, 40, 50)),
        ("1,3,9,...,100", (1, 3, 9, 27, 81, 100)),
        ("5", (5,)),
        ("8,4,...,2", (8, 4, 2)),
        ([1, 2], (1, 2)),
    ],
)
def test_numbers_may_go_on_as_they_begin(given: object, numbers: tuple[int, ...]) -> None:
    """By factors or by differences, up to the last."""
    assert Counts().read("--cpus", given) == numbers


@pytest.mark.parametrize(
    "given", ["", "0", "1,x", "1,...,8", "...,4", "1,2,...", "1,2,...,x", "4,4", "1,2,...,8,9", "9999999"]
)
def test_numbers_that_make_no_sense_are_refused(given: str) -> None:
    """With what was given."""
    with pytest.raises(InvalidRequestError, match="--cpus"):
        Counts().read("--cpus", given)


def test_numbers_out_of_range_are_refused() -> None:
    """Loads that there are not, no operations, and too many CPUs."""
    for bad in ({"load": "fly"}, {"operations": 0}):
        with pytest.raises(InvalidRequestError):
            run_contention(ERAS["current"], DESIGNS["coalescing"], 1, **bad)
    with pytest.raises(InvalidRequestError, match="at most 4096"):
        run_contention(ERAS["current"], DESIGNS["coalescing"], 5000)
