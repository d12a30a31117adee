"""Every schedule of a few preemptions: the explorer finds the windows that kernels had, and passes what is right."""

from __future__ import annotations

from typing import Any, cast

import pytest

from coalloc.errors import InvalidRequestError
from coalloc.kernel import FindingKind, Schedule
from coalloc.scenarios import DRIVERS, SCENARIOS, WINDOWS, look
from coalloc.scenarios.windows import replay

BUGS = [name for name, window in WINDOWS.items() if window.finds]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", BUGS)
def test_a_window_is_found_and_its_schedule_replays(name: str, driver: str) -> None:
    """Each driver finds each window within 200 schedules, or 3,000 states; the printed schedule shows it again."""
    window = WINDOWS[name]
    cycles = window.finds in (FindingKind.LIVELOCK, FindingKind.STARVATION)
    found = look(window, driver=driver, most=3000 if cycles and driver == "exhaustive" else 200)
    if (name, driver) == (
        "barging",
        "pct",
    ):  # who has the highest priority runs, and so the lowest is left out: not fair
        assert found.run is None
        return
    assert found.run is not None
    assert found.run.findings[0].kind == window.finds
    if cycles:
        again = replay(window, Schedule.parse(str(found.run.schedule)))
        assert again.findings[0].kind == window.finds
    else:
        again = window.make(False).run(Schedule.parse(str(found.run.schedule)))
        assert again.findings == found.run.findings


@pytest.mark.parametrize("name", WINDOWS)
def test_what_is_right_passes_every_schedule(name: str) -> None:
    """The right version of each window passes every schedule that is explored."""
    found = look(WINDOWS[name], right=True)
    assert found.finding is None
    assert found.complete


@pytest.mark.parametrize("driver", ["random", "pct"])
@pytest.mark.parametrize("name", WINDOWS)
def test_what_is_right_passes_at_random_as_well(name: str, driver: str) -> None:
    """The right version of each window passes a hundred random schedules, or twenty that never end."""
    most = 20 if WINDOWS[name].finds in (FindingKind.LIVELOCK, FindingKind.STARVATION) else 100
    found = look(WINDOWS[name], right=True, driver=driver, most=most)
    assert (found.finding, found.schedules) == (None, most)


def test_the_mutants_that_only_interleavings_show_are_there() -> None:
    """The windows cover the four mutants that only interleavings can show."""
    assert {window.mutant for window in WINDOWS.values() if window.mutant} == {"M32", "M41", "M61", "M62"}


def test_cycles_are_told_step_by_step() -> None:
    """Text and JSON say who goes round, and how often a waiter is passed where the lock is handed over."""
    result = SCENARIOS["windows"].call(names=["pipelock", "barging"])
    assert result.failure == ""
    text = result.text()
    assert "pipelock, wrong: round and round:\nreader 2 sleeps on pipe, and releases pipe mutex\n" in text
    assert "barging, right: who waits is passed 2 times at most" in text
    wrong, right, *_ = cast("list[dict[str, Any]]", result.as_json())
    assert (wrong["cycle"]["threads"], right["cycle"]) == (["reader 1", "reader 2"], None)
    assert wrong["cycle"]["stuck"] == {"writer": "pipe mutex"}
    left = SCENARIOS["windows"].call(names=["barging"], driver="pct")
    assert (left.failure, "barging: not looked at" in left.text()) == ("", True)
    again = SCENARIOS["windows"].call(names=["pipelock"], schedule=wrong["schedule"])
    assert again.text().startswith("livelock: reader 1, reader 2 go round")
    fixed = SCENARIOS["windows"].call(names=["pipelock"], schedule=wrong["schedule"], fixed=True)
    assert not fixed.failed or "does not end" in fixed.text()


def test_an_unknown_driver_is_refused() -> None:
    """The refusal of an unknown driver lists the known ones."""
    with pytest.raises(InvalidRequestError, match="exhaustive, random, pct"):
        look(WINDOWS["charge"], driver="luck")
