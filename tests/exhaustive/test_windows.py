"""Every schedule of a few preemptions: the explorer finds the windows that kernels had, and passes what is right."""

from __future__ import annotations

import pytest

from coalloc.errors import InvalidRequestError
from coalloc.kernel import Schedule
from coalloc.scenarios import DRIVERS, WINDOWS, look

BUGS = [name for name, window in WINDOWS.items() if window.finds]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", BUGS)
def test_a_window_is_found_and_its_schedule_replays(name: str, driver: str) -> None:
    """Each driver finds each window within 200 schedules, and the printed schedule shows it again."""
    window = WINDOWS[name]
    found = look(window, driver=driver, most=200)
    assert found.run is not None
    assert found.run.findings[0].kind == window.finds
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
    """The right version of each window passes a hundred random schedules."""
    found = look(WINDOWS[name], right=True, driver=driver, most=100)
    assert (found.finding, found.schedules) == (None, 100)


def test_the_mutants_that_only_interleavings_show_are_there() -> None:
    """The windows cover the four mutants that only interleavings can show."""
    assert {window.mutant for window in WINDOWS.values() if window.mutant} == {"M32", "M41", "M61", "M62"}


def test_an_unknown_driver_is_refused() -> None:
    """The refusal of an unknown driver lists the known ones."""
    with pytest.raises(InvalidRequestError, match="exhaustive, random, pct"):
        look(WINDOWS["charge"], driver="luck")
