"""The remedies for a write that gets no buffer: which ends the ENOMEM, what it costs, and what then sleeps for ever."""

from __future__ import annotations

import json

import pytest

from coalloc.errors import InvalidRequestError
from coalloc.scenarios import SCENARIOS
from coalloc.scenarios.remedies import LOADS, Remedied, Remedy, run_remedy


def ran(remedy: Remedy, load: str, most: int = 200) -> Remedied:
    """Run schedules of one preemption."""
    return run_remedy(remedy, load, preemptions=1, most=most)


@pytest.mark.parametrize("load", LOADS)
def test_without_a_remedy_writes_fail_and_nobody_sleeps_for_ever(load: str) -> None:
    """One write for each pipe that gets no buffer."""
    found = ran(Remedy.NONE, load)
    assert (found.failed, found.finding) == (2 if load == "exchange, full" else 1, "")
    assert (found.refused, found.slept, found.beyond) == (0, 0, 0)


@pytest.mark.parametrize("load", LOADS)
def test_a_minimal_buffer_lets_every_load_go_on_beyond_the_limit(load: str) -> None:
    """A page for each write that would have failed; nobody sleeps for lack of room."""
    found = ran(Remedy.MINIMAL, load)
    assert (found.failed, found.refused, found.slept, found.finding) == (0, 0, 0, "")
    assert found.beyond == (8192 if load == "exchange, full" else 4096)


@pytest.mark.parametrize(
    ("remedy", "load", "words"),
    [
        (Remedy.SLEEPS, "self", "process on room for a buffer"),
        (Remedy.SLEEPS, "exchange", "on room for a buffer"),
        (Remedy.SLEEPS, "exchange, full", "one on room for a buffer, two on room for a buffer"),
        (Remedy.HANDS_OVER, "self", "process on reader"),
        (Remedy.HANDS_OVER, "exchange, full", "one on reader"),
    ],
)
def test_writers_that_sleep_can_sleep_for_ever(remedy: Remedy, load: str, words: str) -> None:
    """Who reads the own pipe, and two who wait for each other."""
    found = ran(remedy, load)
    assert found.finding.startswith("sleeps for ever")
    assert words in found.finding
    assert found.slept >= 1


@pytest.mark.parametrize(
    ("remedy", "load"), [(Remedy.SLEEPS, "pairs"), (Remedy.HANDS_OVER, "pairs"), (Remedy.HANDS_OVER, "exchange")]
)
def test_writers_that_sleep_go_on_where_somebody_reads(remedy: Remedy, load: str) -> None:
    """Nothing fails; some schedule has a write that slept."""
    found = ran(remedy, load, most=2_000)
    assert (found.failed, found.finding) == (0, "")
    assert found.slept >= 1


@pytest.mark.parametrize("load", LOADS)
def test_pipes_that_are_refused_leave_no_write_without_a_buffer(load: str) -> None:
    """As in FreeBSD 12.2."""
    found = ran(Remedy.AT_CREATION, load)
    assert found.refused >= 1
    assert (found.failed, found.slept, found.finding) == (0, 0, "")


def test_the_scenario_shows_all_side_by_side() -> None:
    """A row for each remedy and load, and in words what sleeps for ever."""
    result = SCENARIOS["remedies"].call(most=20)
    text = result.text()
    assert "none in 20" in text
    assert "minimal buffer" in text
    assert text.count("\n  sleeps for ever: ") == 5
    rows = json.loads(json.dumps(result.as_json()))
    assert len(rows) == len(Remedy) * len(LOADS)
    assert rows[0]["remedy"] == "none (10.x)"
    assert result.failure == ""


def test_an_unknown_load_is_refused() -> None:
    """With the names of those that there are."""
    with pytest.raises(InvalidRequestError, match="exchange, full"):
        run_remedy(Remedy.NONE, "what")
