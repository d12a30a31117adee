"""Laws of schedules, drawn by Hypothesis: they replay, and shrink to the few switches that matter."""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from coalloc.errors import InvalidRequestError
from coalloc.kernel import FindingKind, Schedule
from coalloc.scenarios import WINDOWS
from coalloc.testing.schedules import schedules

BUGS = [
    name
    for name, window in WINDOWS.items()
    if window.finds and window.finds not in (FindingKind.LIVELOCK, FindingKind.STARVATION)
]


@given(schedule=schedules(threads=3, steps=30), name=st.sampled_from(list(WINDOWS)), right=st.booleans())
def test_a_run_replays_from_the_schedule_that_it_prints(schedule: Schedule, name: str, right: bool) -> None:
    """A run replays exactly from the schedule that it prints, and the right version has no findings."""
    run = WINDOWS[name].make(right).run(schedule, max_steps=500)
    again = WINDOWS[name].make(right).run(Schedule.parse(str(run.schedule)), max_steps=500)
    assert (again.findings, again.steps, again.schedule) == (run.findings, run.steps, run.schedule)
    assert not (right and run.findings) or run.findings[0].kind is FindingKind.DOES_NOT_END


@pytest.mark.parametrize("name", BUGS)
def test_hypothesis_finds_each_window_and_shrinks_its_schedule(name: str) -> None:
    """Hypothesis finds each window and shrinks its schedule to at most two switches."""
    window = WINDOWS[name]
    least = find(
        schedules(threads=3, steps=16),
        lambda schedule: any(f.kind == window.finds for f in window.make(False).run(schedule).findings),
        settings=settings(max_examples=2000, deadline=None),
    )
    assert 1 <= len(least.switches) <= 2


@pytest.mark.parametrize("bad", [{"threads": 0}, {"threads": 1, "steps": 0}, {"threads": 1, "switches": -1}])
def test_numbers_out_of_range_are_refused(bad: dict[str, int]) -> None:
    """A number that is out of range is refused before anything is drawn."""
    with pytest.raises(InvalidRequestError):
        schedules(**bad)
