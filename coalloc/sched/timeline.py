"""`Timeline`: what threads did when, for pictures: states, locks that were held, and who woke whom.

A :class:`~coalloc.sched.machine.Machine` or a :class:`~coalloc.sched.simulation.Simulation` fills it, and reports write it
(:mod:`coalloc.report.perfetto`).  Each thread is in one state at any time, and a lock that is held alone has one holder.
"""

from __future__ import annotations

import attrs

from coalloc.sched.measured import ThreadState

__all__ = ["Hold", "Slice", "Timeline", "Wake"]


@attrs.frozen
class Slice:
    """A thread in one state.

    Args:
        thread: The thread's number.
        state: The state.
        start: Nanoseconds.
        end: Nanoseconds, >= ``start``.
        cpu: The CPU that the thread is on, or was on last.
        detail: The lock or channel that it waits for, or what it does as it runs; empty if there is nothing to say.
    """

    thread: int
    state: ThreadState
    start: int
    end: int
    cpu: int
    detail: str


@attrs.frozen
class Hold:
    """A lock that a thread held, from ``start`` to ``end`` in nanoseconds."""

    thread: int
    lock: str
    start: int
    end: int


@attrs.frozen
class Wake:
    """A thread that woke another one, at a time in nanoseconds."""

    time: int
    waker: int
    woken: int


class Timeline:
    """Collect what threads do.

    Args:
        most: How many slices to keep; later ones are counted, and left out.

    Attributes:
        names: The threads' names, by number.
        slices: What each thread did, in the order in which it ended.
        holds: The locks that were held.
        wakes: Who woke whom.
        left_out: How many slices, holds and wakeups were left out.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self.names: list[str] = []
        self.slices: list[Slice] = []
        self.holds: list[Hold] = []
        self.wakes: list[Wake] = []
        self.left_out = 0
        self._most = most
        self._open: dict[int, tuple[ThreadState, int, int, str]] = {}
        self._held: dict[tuple[int, str], list[int]] = {}

    def state(self, time: int, thread: int, state: ThreadState, cpu: int, detail: str = "") -> None:
        """Note that a thread is in a state from now on."""
        self._close(thread, time)
        if state is not ThreadState.ENDED:
            self._open[thread] = state, time, cpu, detail

    def taken(self, time: int, thread: int, lock: str) -> None:
        """Note that a thread holds a lock from now on."""
        self._held.setdefault((thread, lock), []).append(time)

    def released(self, time: int, thread: int, lock: str) -> None:
        """Note that a thread holds a lock no more."""
        starts = self._held.get((thread, lock))
        if starts:
            start = min(starts.pop(), time)
            if self._has_room():
                self.holds.append(Hold(thread, lock, start, time))

    def woke(self, time: int, waker: int, woken: int) -> None:
        """Note that a thread wakes another."""
        if self._has_room():
            self.wakes.append(Wake(time, waker, woken))

    def close(self, time: int) -> None:
        """End everything that is under way."""
        for thread in tuple(self._open):
            self._close(thread, time)
        for (thread, lock), starts in self._held.items():
            while starts:
                self.released(max(time, starts[-1]), thread, lock)

    def _close(self, thread: int, time: int) -> None:
        under_way = self._open.pop(thread, None)
        if under_way is not None:
            state, start, cpu, detail = under_way
            if time > start and self._has_room():
                self.slices.append(Slice(thread, state, start, time, cpu, detail))

    def _has_room(self) -> bool:
        if len(self.slices) + len(self.holds) + len(self.wakes) < self._most:
            return True
        self.left_out += 1
        return False
