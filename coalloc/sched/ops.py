"""What threads do: the operations that a thread yields to its :class:`~coalloc.sched.machine.Machine`, as frozen data.

A *thread* is a generator of such operations.  Functions of a kernel are generators, too, and call each other with ``yield
from``.  What lies between two yields cannot be interrupted, so a window that a kernel has must be a yield in its model.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from typing import Any, TypeAlias

import attrs

from coalloc.sched.locks import Lock

__all__ = ["Acquire", "Body", "Op", "Preempt", "SleepOn", "Spend", "TryAcquire", "Unlock", "WakeUp"]


@attrs.frozen
class Acquire:
    """Take a lock, and wait for it if another thread holds it.

    Args:
        lock: The lock.
        file: The source file of the acquisition, as compilers name it.
        line: The line in that file.
    """

    lock: Lock
    file: str = ""
    line: int = 0


@attrs.frozen
class TryAcquire:
    """Take a lock if it is free; the yield returns whether it was.

    Args:
        lock: The lock.
        file: The source file of the acquisition, as compilers name it.
        line: The line in that file.
    """

    lock: Lock
    file: str = ""
    line: int = 0


@attrs.frozen
class Unlock:
    """Release a lock that the thread holds; once for each time that it was taken."""

    lock: Lock


@attrs.frozen
class SleepOn:
    """Sleep until a wakeup on a channel.

    The lock is released as the thread falls asleep, and taken again before the thread goes on.  So is every lock that is
    :attr:`~coalloc.sched.locks.Lock.dropped_by_sleepers`, Giant for one.

    Args:
        channel: What the thread waits for; any hashable value.
        lock: The lock to release meanwhile; None releases no other.
    """

    channel: Hashable
    lock: Lock | None = None


@attrs.frozen
class WakeUp:
    """Wake the threads that sleep on a channel: all of them, or only the one that has slept longest.

    Args:
        channel: As the sleepers named it.
        one: Whether to wake only one.
    """

    channel: Hashable
    one: bool = False


@attrs.frozen
class Spend:
    """Let simulated time pass: ``ns`` nanoseconds, >= 0."""

    ns: int


@attrs.frozen
class Preempt:
    """Do nothing: a point where another thread may run."""


Op: TypeAlias = Acquire | TryAcquire | Unlock | SleepOn | WakeUp | Spend | Preempt
"""Whatever a thread may yield."""

Body: TypeAlias = Generator[Op, Any, Any]
"""The generator that a thread runs; what it returns is the thread's result."""
