"""`explore` and `search`: look for a schedule with a finding and shorten it; the schedule that is returned shows the finding.

:func:`explore` runs every schedule of at most so many preemptions, fewest first.  :func:`search` runs once with each of the
given drivers.  Shortening leaves switches out of a schedule while the same kind of finding remains.

Source: Musuvathi and Qadeer, Iterative Context Bounding for Systematic Testing of Multithreaded Programs, PLDI 2007.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.sched.machine import Machine
from coalloc.sched.run import Finding, Run
from coalloc.sched.schedule import Driver, Schedule

__all__ = ["MakeMachine", "SearchResult", "explore", "search"]

MakeMachine: TypeAlias = Callable[[], Machine]
"""A function that makes a machine with its threads; it is called again for each run."""


@attrs.frozen
class SearchResult:
    """The result of running many schedules.

    Args:
        schedules: How many schedules were run, without those of the shortening.
        complete: Whether these were all schedules within the bound, and none has a finding.
        run: The first run with a finding, its schedule shortened; None if no run has one.
    """

    schedules: int
    complete: bool
    run: Run | None

    @property
    def finding(self) -> Finding | None:
        """The finding of :attr:`run`; None if there is none."""
        return self.run.findings[0] if self.run is not None else None


def explore(make: MakeMachine, *, preemptions: int = 2, most: int = 10_000) -> SearchResult:
    """Run every schedule with at most so many preemptions, fewest first, until one has a finding.

    Args:
        make: Makes the machine.
        preemptions: How often a schedule may take the CPU from a thread that could go on, >= 0.
        most: How many schedules to run at most, >= 1.

    Raises:
        InvalidRequestError: If a number is out of range.

    Complexity:
        O((steps * threads) ** preemptions) runs.
    """
    for name, value, least in (("preemptions", preemptions, 0), ("most", most, 1)):
        if type(value) is not int or value < least:
            raise InvalidRequestError(name, value, f"must be an int >= {least}")
    waves: list[deque[tuple[tuple[int, int], ...]]] = [deque() for _ in range(preemptions + 1)]
    waves[0].append(())
    schedules = 0
    for used, wave in enumerate(waves):
        while wave:
            if schedules >= most:
                return SearchResult(schedules, complete=False, run=None)
            prefix = wave.popleft()
            run = make().run(Schedule(prefix))
            schedules += 1
            if run.findings:
                return SearchResult(schedules, complete=False, run=_shortened(make, run))
            start = prefix[-1][0] + 1 if prefix else 0
            for step in range(start, len(run.decisions)):
                decision = run.decisions[step]
                cost = used + decision.preempts
                if cost <= preemptions:
                    waves[cost].extend(
                        (*prefix, (step, other)) for other in decision.runnable if other != decision.chosen
                    )
    return SearchResult(schedules, complete=True, run=None)


def search(make: MakeMachine, drivers: Iterable[Driver]) -> SearchResult:
    """Run once with each driver until a run has a finding.

    Args:
        make: Makes the machine.
        drivers: The drivers of the first run, the second, and so on.
    """
    schedules = 0
    for driver in drivers:
        run = make().run(driver)
        schedules += 1
        if run.findings:
            return SearchResult(schedules, complete=False, run=_shortened(make, run))
    return SearchResult(schedules, complete=False, run=None)


def _shortened(make: MakeMachine, run: Run) -> Run:
    """Leave switches out of a run's schedule while the same kind of finding remains."""
    again = True
    while again:
        again = False
        switches = run.schedule.switches
        for number in range(len(switches) - 1, -1, -1):
            shorter = make().run(Schedule(switches[:number] + switches[number + 1 :]))
            if (
                shorter.findings
                and shorter.findings[0].kind == run.findings[0].kind
                and len(shorter.schedule.switches) < len(switches)
            ):
                run, again = shorter, True
                break
    return run
