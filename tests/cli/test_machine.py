"""``coalloc costs`` and ``coalloc real`` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def test_measured_prices_are_used_wherever_prices_are(coalloc: Any, tmp_path: Path) -> None:
    """The file of one command is the prices of the others, and the table shows the spread."""
    prices, samples, bench = (str(tmp_path / name) for name in ("prices.json", "samples", "bench.json"))
    measured = coalloc(
        "costs", "measure", "--calls", "5", "--rounds", "2", "-o", prices, "--ministat", samples, "--benchmark", bench
    )  # fmt: skip
    assert measured.status == 0
    assert measured.err == f"coalloc: wrote {prices}\ncoalloc: wrote {samples}: 11 files\ncoalloc: wrote {bench}\n"
    assert all(word in measured.out for word in ("map operations", "lock and unlock", "copy of 4 KiB", "quartile"))
    assert len((tmp_path / "samples" / "faults").read_text().splitlines()) == 2
    shown = coalloc("costs", "show", "--costs", prices)
    assert " .. " in shown.out
    model = json.loads(coalloc("costs", "show", "--costs", prices, "--json").out)
    assert model["prices"]["faults"]["ns"] == json.loads(Path(prices).read_text())["prices"]["faults"]["ns"]
    for command in (["compare"], ["sweep", "--jobs", "1"]):
        answer = json.loads(coalloc(*command, "--costs", prices, "--json").out)
        assert answer["costs"]["measured_on"] == model["measured_on"]
    for scenario in (["teardown", "--pipes", "50"], ["locks", "--pipes", "20"]):
        run = coalloc("scenario", *scenario, "--designs", "per-pipe", "--costs", "unit")
        assert (run.status, run.out.rstrip().endswith("with a price of 1 for every event")) == (0, True)
        assert coalloc("scenario", *scenario, "--designs", "per-pipe", "--costs", prices).out != run.out
    assert coalloc("scenario", "mail", "--limit", "2M", "--costs", prices).status == 0
    unit = json.loads(coalloc("compare", "--costs", "unit", "--json").out)
    assert unit["costs"]["name"] == "unit"
    assert "measured on" in coalloc("costs", "show").out


def test_pytest_benchmark_reads_the_samples(coalloc: Any, tmp_path: Path) -> None:
    """Its own command compares them."""
    pytest.importorskip("pytest_benchmark")
    bench = str(tmp_path / "0001_bench.json")
    measured = coalloc("costs", "measure", "--calls", "5", "--rounds", "2", "--benchmark", bench, "--json")
    assert len(json.loads(measured.out)["samples_ns"]["faults"]) == 2
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", bench],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "faults" in compared.stdout


def test_real_shows_what_was_measured_beside_the_estimate(coalloc: Any, tmp_path: Path) -> None:
    """With prices of a file; the table and the JSON have the same runs."""
    program = str(tmp_path / "small.pipes")
    assert coalloc("trace", "generate", "shell-pipeline", "pipelines=3", "-o", program).status == 0
    shown = coalloc("real", program, "--rounds", "2", "--costs", "unit")
    assert (shown.status, shown.err) == (0, "")
    assert all(
        word in shown.out for word in ("measured, ms", "estimated by measured", "page faults", "order, fastest first")
    )
    answer = json.loads(coalloc("real", program, "--rounds", "2", "--costs", "unit", "--json").out)
    assert [run["design"] for run in answer["designs"]] == ["per-pipe", "coalescing", "coalescing+cache"]
    for order in (answer["order_measured"], answer["order_estimated"]):
        assert sorted(name for alike in order for name in alike) == ["coalescing", "coalescing+cache", "per-pipe"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["real", "--rounds", "0"], "must be at least 1"),
        (["real", "--designs", "linux", "--costs", "unit"], "nothing to measure"),
        (["real", "--costs", "none.json"], "there is no such file"),
        (["compare", "--costs", "none.json"], "there is no such file"),
        (["costs", "measure", "--rounds", "0"], "must be an int >= 1"),
        (["costs", "measure", "-o", "none/prices.json"], "its folder does not exist"),
        (["costs", "measure", "--benchmark", "."], "is a folder"),
    ],
)
def test_bad_input_is_one_line(
    coalloc: Any, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    result = coalloc(*arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
