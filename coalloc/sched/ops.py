"""What threads do: the operations that a thread yields to its :class:`~coalloc.sched.machine.Machine`, as frozen data.

A *thread* is a generator of such operations.  Functions of a kernel are generators, too, and call each other with ``yield
from``.  What lies between two yields cannot be interrupted, so a window that a kernel has must be a yield in its model.

Operations are named tuples, which were made in 0.5 to 0.9 of the time that frozen attrs classes took (CPython 3.11.7).
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from typing import Any, NamedTuple, TypeAlias

import attrs

from coalloc.sched.locks import Lock

__all__ = [
    "Access", "Acquire", "Body", "Finish", "Line", "Op", "Preempt", "SleepOn", "Spend", "Start", "TryAcquire", "Unlock",
    "WakeUp",
]  # fmt: skip


class Acquire(NamedTuple):
    """Take a lock, and wait for it if another thread holds it.

    Args:
        lock: The lock.
        file: The source file of the acquisition, as compilers name it.
        line: The line in that file.
        shared: Whether other threads may hold it, too, that take it shared; only where its discipline is shared.
    """

    lock: Lock
    file: str = ""
    line: int = 0
    shared: bool = False


class TryAcquire(NamedTuple):
    """Take a lock if it is free; the yield returns whether it was.

    Args:
        lock: The lock.
        file: The source file of the acquisition, as compilers name it.
        line: The line in that file.
    """

    lock: Lock
    file: str = ""
    line: int = 0


class Unlock(NamedTuple):
    """Release a lock that the thread holds; once for each time that it was taken."""

    lock: Lock


class SleepOn(NamedTuple):
    """Sleep until a wakeup on a channel.

    The lock is released as the thread falls asleep, and taken again before the thread goes on.  So is every lock that is
    :attr:`~coalloc.sched.locks.Lock.dropped_by_sleepers`, Giant for one.

    Args:
        channel: What the thread waits for; any hashable value.
        lock: The lock to release meanwhile; None releases no other.
        priority: The thread's priority from its wakeup on, as tsleep(9) sets it; None keeps it.  Only simulated time knows it.
    """

    channel: Hashable
    lock: Lock | None = None
    priority: int | None = None


class WakeUp(NamedTuple):
    """Wake the threads that sleep on a channel: all of them, or only the one that has slept longest.

    Args:
        channel: As the sleepers named it.
        one: Whether to wake only one.
        sync: Whether the thread is about to sleep itself, so that who is woken need not go to another CPU (Linux's WF_SYNC).
            Only simulated time knows it.
    """

    channel: Hashable
    one: bool = False
    sync: bool = False


class Spend(NamedTuple):
    """Let simulated time pass: ``ns`` nanoseconds, >= 0."""

    ns: int


class Preempt(NamedTuple):
    """Do nothing: a point where another thread may run."""


@attrs.frozen(eq=False)
class Line:
    """A cache line that several CPUs use; two are equal only if they are the same object."""

    name: str


class Access(NamedTuple):
    """Read a cache line that other CPUs write to, or write to it; no step where threads are explored.

    Args:
        line: The line.
        write: Whether to write.
    """

    line: Line
    write: bool = True


class Start(NamedTuple):
    """Begin an operation, such as a write(2), whose latency is measured; no step where threads are explored."""

    what: str


class Finish(NamedTuple):
    """End the operation that was begun.  The thread has got on: a cycle with an end in it is no livelock."""

    what: str


Op: TypeAlias = Acquire | TryAcquire | Unlock | SleepOn | WakeUp | Spend | Preempt | Access | Start | Finish
"""Whatever a thread may yield."""

Body: TypeAlias = Generator[Op, Any, Any]
"""The generator that a thread runs; what it returns is the thread's result."""
