"""`Run` and `Finding`: what one run of a machine did and what went wrong in it, as frozen values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from coalloc.sched.schedule import Schedule

__all__ = ["Decision", "Finding", "FindingKind", "Run"]


class FindingKind(enum.Enum):
    """What may go wrong in a run; the value is the word that is printed."""

    DEADLOCK = "deadlock"
    """Threads wait for locks that are never released."""
    LOST_WAKEUP = "lost wakeup"
    """A thread sleeps for ever, and the wakeup that it waits for came before it slept."""
    SLEEPS_FOR_EVER = "sleeps for ever"
    """A thread sleeps, and no thread is left that could wake it."""
    BROKEN_INVARIANT = "broken invariant"
    LIMIT_EXCEEDED = "limit exceeded"
    """A broken invariant about a limit (I9, PI1)."""
    REVERSAL = "reversal"
    """A lock-order report, where the machine counts them."""
    RAISED = "raised"
    """A thread raised an exception, or ended with a lock held."""
    DOES_NOT_END = "does not end"
    LIVELOCK = "livelock"
    """Threads run again and again, whoever can run does, and none gets on (:mod:`coalloc.sched.cycles`)."""
    STARVATION = "starvation"
    """A thread gets on no more while others do again and again, though whoever can always run does."""


@attrs.frozen
class Finding:
    """Something that went wrong.

    Args:
        kind: What kind of thing.
        message: The details.
    """

    kind: FindingKind
    message: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.message}"


@attrs.frozen
class Decision:
    """The choice that was made before one step.

    Args:
        runnable: The threads that could run.
        chosen: The thread that ran.
        default: The default choice.
        preempts: Whether another choice than the default takes the CPU from a thread that could go on.
    """

    runnable: tuple[int, ...]
    chosen: int
    default: int
    preempts: bool


@attrs.frozen
class Run:
    """One run of a machine.

    Args:
        schedule: The choices that were not the default; running this schedule replays the run.
        findings: What went wrong; a run ends with the first finding, so there is at most one.
        steps: How many steps were made.
        results: What the threads that ended returned, by name.
        decisions: The choice before each step; empty if the run was not recorded.
    """

    schedule: Schedule
    findings: tuple[Finding, ...]
    steps: int
    results: Mapping[str, Any]
    decisions: tuple[Decision, ...] = attrs.field(repr=False)
