"""Allocators of one's own on the command line: in `compare`, `map` and `check`, with whatever of the protocol they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

MINE = '''"""Three allocators: one with alloc and free only, one with figures, one with everything."""
from coalloc import RETAIN, CoalescingSpace, Contract, Fit


class Mine:
    contract = Contract(fit=Fit.FIRST, release=RETAIN(1))

    def __init__(self, source, *, kva_limit):
        self.below = CoalescingSpace(source, kva_limit=kva_limit, fit=Fit.FIRST)
        self.alloc, self.free = self.below.alloc, self.below.free


class Counts(Mine):
    def stats(self):
        return self.below.stats()


class Everything(CoalescingSpace):
    pass
'''
KINDS = ("Mine", "Counts", "Everything")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work beside the file of the allocators."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_compare_shows_an_allocator_of_ones_own_beside_the_baseline(coalloc: Any, kind: str, jobs: str) -> None:
    """Every figure of the replay is there; fragmentation only where the allocator tells of its holes."""
    target = f"mine.py:{kind}"
    result = coalloc("compare", "--designs", f"per-pipe,{target}", "--json", "--jobs", jobs)
    assert result.status == 0, result.err
    figures = json.loads(result.out)["designs"]
    assert list(figures) == [target, "per-pipe"]
    mine = figures[target]
    assert (mine["map_ops"], mine["pipes_created"], mine["peak_mapped"]) == (1, 2149, 4 << 20)
    assert (mine["carves"], mine["coalesces"]) == (4299, None if kind == "Mine" else 4298)
    assert (mine["external_fragmentation"] is None) is (kind == "Mine")
    shown = coalloc("compare", "--designs", f"per-pipe,{target}", "--jobs", jobs).out
    assert ("not known" in shown) is (kind == "Mine")


@pytest.mark.parametrize("kind", KINDS)
def test_map_draws_an_allocator_of_ones_own_if_it_can_be_drawn(coalloc: Any, kind: str) -> None:
    """Else it says that nothing is shown."""
    result = coalloc("map", "--design", f"mine.py:{kind}", "--at", "100")
    assert result.status == 0, result.err
    assert f"mine.py:{kind}, era 2004-01, after operation 100 of" in result.out
    assert ("the allocator does not show its arenas" in result.out) is (kind != "Everything")


def test_a_scenario_closes_pipes_over_an_allocator_of_ones_own(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are so many that registered designs run in processes of their own."""
    monkeypatch.setattr("coalloc.scenarios.teardown._MANY", 10)
    shown = []
    for designs in ("mine.py:Mine,mine.py:Everything", "coalescing,per-pipe"):
        result = coalloc("scenario", "teardown", "--pipes", "20", "--designs", designs, "--json")
        assert result.status == 0, result.err
        shown.append(json.loads(result.out))
    assert shown[0]["mine.py:Everything"] == shown[1]["coalescing"]


def test_check_shows_what_an_allocator_can_do(coalloc: Any) -> None:
    """And what can therefore not be judged, as text."""
    text = " ".join(coalloc("check", "mine.py:Mine", "--examples", "5").out.split())
    assert (
        "has alloc and free only lacks size_of (no size of a live buffer is compared), resize (P18 is not judged), "
        "xalloc (P3 is not judged), reclaim (it may keep its arenas), segments (P5 is not judged), "
        "stats (P16 is not judged) "
    ) in text


def test_check_lists_capabilities_in_its_json(coalloc: Any) -> None:
    """Sorted by name; an allocator of a few members has a short list."""
    found = json.loads(coalloc("check", "mine.py:Counts", "--examples", "5", "--json").out)
    assert found["conforms"] is True
    assert found["capabilities"] == ["stats"]
