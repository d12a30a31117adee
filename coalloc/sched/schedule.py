"""`Schedule` and `Driver`: who runs at which step; a schedule replays the run that it was read from.

Before each step the driver chooses among the threads that can run.  The *default* choice is the thread that ran last or, if it
cannot run, the next one in turn.  A schedule is the list of the other choices, as text: ``5>1 9>0`` runs thread 1 at step 5 and
thread 0 at step 9.  An impossible choice falls back to the default, so any list is a schedule, and leaving choices out shortens
one.
"""

from __future__ import annotations

import itertools
from typing import Final, Protocol

import attrs

from coalloc.errors import InvalidRequestError

__all__ = ["Driver", "FollowDriver", "Schedule"]

_LONGEST: Final = 24
"""The most characters of a word of a schedule."""


@attrs.frozen
class Schedule:
    """The choices that differ from the default.

    Args:
        switches: Pairs of a step and the number of the thread that runs there, in the order of the steps.

    >>> schedule = Schedule.parse("5>1 9>0")
    >>> schedule.switches, str(schedule), str(Schedule())
    (((5, 1), (9, 0)), '5>1 9>0', '-')
    """

    switches: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule from its text; ``-`` and the empty text are the schedule without switches.

        Raises:
            InvalidRequestError: For a word that is not STEP>THREAD, or steps out of order.
        """
        switches = []
        for word in [] if text.strip() == "-" else text.split():
            step, mark, thread = word.partition(">")
            if not (mark and step.isdecimal() and thread.isdecimal() and len(word) < _LONGEST):
                raise InvalidRequestError("schedule", word, "must be STEP>THREAD, such as 5>1")
            switches.append((int(step), int(thread)))
        if any(one[0] >= other[0] for one, other in itertools.pairwise(switches)):
            raise InvalidRequestError("schedule", text, "must have its steps in order")
        return cls(tuple(switches))

    def __str__(self) -> str:
        return " ".join(f"{step}>{thread}" for step, thread in self.switches) or "-"


class Driver(Protocol):
    """Choose the thread that makes each step."""

    def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
        """Choose the thread that makes a step.

        Args:
            step: The number of the step; the first is 0.
            runnable: The numbers of the threads that can run, at least one, in ascending order.
            default: The default choice, which is one of them.

        Returns:
            One of ``runnable``.
        """
        ...


class FollowDriver:
    """Choose as a schedule says."""

    def __init__(self, schedule: Schedule) -> None:
        self._switches = dict(schedule.switches)

    def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
        """Return what the schedule says for this step if that is possible, and the default otherwise."""
        chosen = self._switches.get(step, default)
        return chosen if chosen in runnable else default
