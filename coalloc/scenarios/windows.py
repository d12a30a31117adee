"""The scenario ``windows``: windows that real kernels had between two steps, each in a wrong and a right version.

A *window* is so small that every schedule of a few preemptions can be run.  The wrong version has a bug that a kernel had; its
mutant number is that of the conformance kit.  Some schedule shows the bug, and the text of the schedule replays it.  The right
version has no finding, and the explorer reports that it has run all schedules within the bound.

>>> result = look(WINDOWS["charge"])
>>> str(result.run.findings[0]), str(result.run.schedule)
('limit exceeded: PI1: 32768 bytes are charged, the limit is 16384', '2>1')
>>> look(WINDOWS["charge"], right=True).complete
True
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.scenarios.options import SEED, TRACE, Flag, Int, Names, Option, Text
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.scenarios.window_models import WINDOWS, Window
from coalloc.sched.cycles import CycleSearch, find_cycles, search_cycles
from coalloc.sched.explore import SearchResult, explore, search
from coalloc.sched.machine import Machine
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import FindingKind, Run
from coalloc.sched.schedule import Driver, FollowDriver, Schedule
from coalloc.sched.timeline import Timeline

__all__ = ["DRIVERS", "OFFERED", "WINDOWS", "Replayed", "Searches", "Window", "look", "replay"]


def look(
    window: Window,
    *,
    right: bool = False,
    driver: str = "exhaustive",
    preemptions: int = 2,
    most: int = 10_000,
    seed: int = 0,
) -> SearchResult:
    """Look for a schedule that shows a window, and shorten it.

    Args:
        window: The window.
        right: Whether to search the right version.
        driver: The name of a driver, one of :data:`DRIVERS`.
        preemptions: The most preemptions of the exhaustive driver, or the changes of priority of PCT, >= 0.  A window that
            finds a cycle has all its states visited instead.
        most: The most schedules, or states, >= 1.
        seed: The seed of the other drivers.

    Raises:
        InvalidRequestError: For an unknown driver, or a number out of range.
    """
    if driver not in DRIVERS:
        raise InvalidRequestError("driver", driver, f"is no driver; there are {', '.join(DRIVERS)}")

    def make() -> Machine:
        return window.make(right)

    if driver == "exhaustive" and window.finds in _CYCLES:
        return find_cycles(make, starvation=window.finds is FindingKind.STARVATION, most=most)
    if driver == "exhaustive":
        return explore(make, preemptions=preemptions, most=most)
    drivers: Iterator[Driver] = (
        RandomDriver(seed + number)
        if driver == "random"
        else PctDriver(seed + number, changes=preemptions, steps=_LENGTH)
        for number in range(most)
    )
    if window.finds in _CYCLES:
        return search_cycles(make, drivers, starvation=window.finds is FindingKind.STARVATION, max_steps=_ENDLESS)
    return search(make, drivers)


def replay(window: Window, schedule: Schedule, *, right: bool = False, timeline: Timeline | None = None) -> Run:
    """Run a schedule of a window; where a cycle is found, until it has been gone round once.

    Args:
        window: The window.
        schedule: The schedule.
        right: Whether to run the right version.
        timeline: Collects what the threads do, a microsecond for each step; None collects nothing.
    """
    if window.finds not in _CYCLES:
        return _shown(window, right, timeline).run(schedule)
    last = max((step for step, _ in schedule.switches), default=-1)
    found = search_cycles(
        lambda: window.make(right),
        [FollowDriver(schedule)],
        starvation=window.finds is FindingKind.STARVATION,
        max_steps=_ENDLESS,
        not_before=last + 1,
    )
    if found.run is None:
        return _shown(window, right, timeline).run(schedule, max_steps=_ENDLESS)
    if timeline is not None:
        _shown(window, right, timeline).run(found.run.schedule, max_steps=found.run.steps)
    return found.run


def _shown(window: Window, right: bool, timeline: Timeline | None) -> Machine:
    """Make a machine whose threads a timeline shows, a microsecond for each step."""
    machine = window.make(right)
    machine.timeline, machine.step_ns = timeline, _STEP_NS
    return machine


_CYCLES: Final = (FindingKind.LIVELOCK, FindingKind.STARVATION)
"""What is found as a cycle of states, and not at the end of a run."""
_STEP_NS: Final = 1000
"""How long a step is in a trace."""
_ENDLESS: Final = 400
"""After so many steps a run of threads that never end is given up."""
DRIVERS: Final = ("exhaustive", "random", "pct")
_LENGTH: Final = 24
"""The approximate number of steps of a window."""


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class Searches(Result):
    """The results of the searches for schedules.

    Args:
        rows: For each version of each window: the window, whether the version is the right one, and the search's result.
        left_out: The windows that the driver cannot show.
        timeline: What the threads of the first schedule with a finding did, if that was asked for.
    """

    rows: tuple[tuple[Window, bool, SearchResult], ...]
    left_out: tuple[str, ...] = ()
    timeline: Timeline | None = None

    def parts(self) -> Iterator[str | Table]:
        """Yield a table with a row for each version, and what goes round in each cycle."""
        yield Table(
            (
                *(Column(name, no_wrap=True) for name in ("window", "", "version")),
                Column("looked at", right=True, no_wrap=True),
                Column("schedule that shows it", no_wrap=True),
                Column("found"),
            ),
            tuple(
                (
                    window.name,
                    window.mutant,
                    _version(right),
                    f"{found.schedules:,} {_counted(window)}",
                    "" if found.run is None else str(found.run.schedule),
                    f"none, in {'all' if found.complete else 'so many'}"
                    if found.finding is None
                    else str(found.finding),
                )
                for window, right, found in self.rows
            ),
        )
        for name in self.left_out:
            yield f"\n{name}: not looked at; priorities alone leave out who can always run, which is no fair schedule"
        for window, right, found in self.rows:
            if isinstance(found, CycleSearch) and found.cycle is not None:
                yield f"\n{window.name}, {_version(right)}: " + "\n".join(
                    ["round and round:", *map(str, found.cycle.turns)]
                )
            if isinstance(found, CycleSearch) and found.complete and window.finds is FindingKind.STARVATION:
                most = max((n for n in found.bypass.values() if n is not None), default=0)
                yield f"\n{window.name}, {_version(right)}: who waits is passed {most} times at most"

    def as_json(self) -> object:
        """Return what was found, version by version."""
        return [
            {
                "window": window.name,
                "mutant": window.mutant,
                "version": _version(right),
                "schedules": found.schedules,
                "complete": found.complete,
                "finding": None if found.finding is None else str(found.finding),
                "schedule": None if found.run is None else str(found.run.schedule),
                "cycle": _cycle_of(found),
            }
            for window, right, found in self.rows
        ]

    @property
    def failure(self) -> str:
        """The wrong versions without a finding, and the right ones with one."""
        missed = [
            f"{window.name} ({_version(right)})"
            for window, right, found in self.rows
            if (found.finding is None) is not right
        ]
        return f"not as it should be: {', '.join(missed)}" if missed else ""


@attrs.frozen
class Replayed(Result):
    """The replay of one schedule of one window; it fails if there is a finding, which its text states.

    Args:
        window: The window's name.
        schedule: The schedule, as it was given.
        run: The run.
        timeline: What its threads did, if that was asked for.
    """

    window: str
    schedule: str
    run: Run
    timeline: Timeline | None = None

    def parts(self) -> Iterator[str]:
        """Yield the finding, or a line that says that there is none."""
        yield "\n".join(map(str, self.run.findings)) or f"nothing is found in {self.run.steps} steps"

    def as_json(self) -> object:
        """Return the findings."""
        return {"window": self.window, "schedule": self.schedule, "findings": [str(f) for f in self.run.findings]}

    @property
    def failed(self) -> bool:
        """Whether there is a finding."""
        return bool(self.run.findings)


def _counted(window: Window) -> str:
    return "states" if window.finds in _CYCLES else "schedules"


def _cycle_of(found: SearchResult) -> object:
    cycle = found.cycle if isinstance(found, CycleSearch) else None
    if cycle is None:
        return None
    return {
        "threads": list(cycle.threads),
        "stuck": dict(cycle.stuck),
        "prefix": cycle.prefix,
        "turns": [str(turn) for turn in cycle.turns],
        "strong": cycle.strong,
    }


def _version(right: bool) -> str:
    return "right" if right else "wrong"


def _run(
    progress: Progress,
    *,
    names: tuple[str, ...],
    driver: str,
    preemptions: int,
    most: int,
    schedule: str,
    fixed: bool,
    perfetto: Path | None,
    seed: int,
) -> Searches | Replayed:
    chosen = [WINDOWS[name] for name in names]
    timeline = None if perfetto is None else Timeline()
    if timeline is not None and len(chosen) != 1:
        raise InvalidRequestError("--perfetto", str(perfetto), "name the one window that it is to show")
    if schedule:
        if len(chosen) != 1:
            raise InvalidRequestError("--schedule", schedule, "name the one window that it is for")
        (window,) = chosen
        right = fixed or window.finds is None
        run = replay(window, Schedule.parse(schedule), right=right, timeline=timeline)
        return Replayed(window.name, schedule, run, timeline)
    rows: list[tuple[Window, bool, SearchResult]] = []
    left_out = [each.name for each in chosen if driver == "pct" and each.finds is FindingKind.STARVATION]
    for window in [each for each in chosen if each.name not in left_out]:
        for right in (False, True) if window.finds else (True,):
            progress.say(f"{window.name}, {_version(right)}")
            found = look(window, right=right, driver=driver, preemptions=preemptions, most=most, seed=seed)
            rows.append((window, right, found))
    if timeline is not None:
        runs = [(window, right, found.run) for window, right, found in rows if found.run is not None]
        if runs:
            window, right, run = runs[0]
            _shown(window, right, timeline).run(run.schedule, max_steps=run.steps)
        else:
            _shown(chosen[0], True, timeline).run(max_steps=_ENDLESS)
    return Searches(tuple(rows), tuple(left_out), timeline)


OFFERED: Final = (
    Scenario(
        "windows",
        """Look at every schedule of small configurations: windows that real kernels had, and the versions that are right.

        Exit status 0 if each bug is found and each right version passes, 1 if not.  With --schedule: 1 if something is found.
        """,
        _run,
        (
            Option("names", Names(WINDOWS, "window"), None, f"Which; there are {', '.join(WINDOWS)}.", "[NAME]..."),
            Option("driver", Text(), "exhaustive", f"Who chooses the schedules: {', '.join(DRIVERS)}."),
            Option("preemptions", Int(), 2, "Most preemptions in a schedule."),
            Option("most", Int(), 10_000, "Most schedules to run of each."),
            Option("schedule", Text(), "", 'Run this schedule of one window only, such as "2>1".'),
            Option("fixed", Flag(), False, "With --schedule: run the right version."),
            attrs.evolve(TRACE, help="Write a trace of the schedule that shows the one window named: FILE.json."),
            SEED,
        ),
        rank=60,
    ),
)
"""The scenario of this module."""
