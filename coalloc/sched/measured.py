"""`Measured`: what a simulation measured, as frozen values; the times of all states add up, and Little's law holds."""

from __future__ import annotations

import enum
import math
from array import array
from collections.abc import Mapping
from typing import Any

import attrs

from coalloc.errors import Violation
from coalloc.sched.locks import Lock
from coalloc.sched.run import Finding

__all__ = ["Book", "LockUse", "Measured", "Operations", "ThreadState"]


class ThreadState(enum.Enum):
    """What a thread is doing."""

    RUN = 0
    """It runs, or waits for a line."""
    SPIN = 1
    """It waits for a lock on its CPU."""
    BLOCKED = 2
    """It waits for a lock and has no CPU."""
    ASLEEP = 3
    """It sleeps on a channel."""
    READY = 4
    """It waits for a CPU."""
    SWITCH = 5
    """Its CPU wakes up, or switches to it."""
    ENDED = 6


@attrs.define
class LockUse:
    """What a lock, or all locks of a type, cost; times in nanoseconds.

    Args:
        name: The lock's type.
        acquisitions: How often it was taken.
        contended: How often a thread had to wait for it.
        wait_ns: From asking until holding, all together, with the transfer of the line.
        hold_ns: How long it was held, all together.
        longest_wait: The longest of the waits.
        locks: How many locks of the type there were.
    """

    name: str
    acquisitions: int = 0
    contended: int = 0
    wait_ns: int = 0
    hold_ns: int = 0
    longest_wait: int = 0
    locks: int = 0

    def clear(self) -> None:
        """Set all counts to 0, but for that of the locks."""
        self.acquisitions = self.contended = self.wait_ns = self.hold_ns = self.longest_wait = 0


@attrs.frozen
class Operations:
    """The operations of one name that ended.

    Args:
        what: The name.
        latencies: Their latencies in nanoseconds, in ascending order.
    """

    what: str
    latencies: array[int] = attrs.field(repr=False)

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.latencies)

    @property
    def mean(self) -> float:
        """The mean latency; 0 without any."""
        return sum(self.latencies) / len(self.latencies) if self.latencies else 0.0

    def percentile(self, percent: float) -> int:
        """Return the latency that so many percent (0 < percent <= 100) do not exceed; 0 without any.

        >>> Operations("write", array("q", [10, 20, 30, 40])).percentile(50)
        20
        """
        if not self.latencies:
            return 0
        return self.latencies[max(math.ceil(len(self.latencies) * percent / 100), 1) - 1]


@attrs.frozen
class Measured:
    """What one simulation measured, from the end of its warm-up on; times in nanoseconds.

    Args:
        elapsed: How long it was measured.
        operations: The operations, by name.
        locks: What the locks cost, by type.
        times: How long threads were in each state, all together.
        steps: Steps of threads.
        switches: Switches of CPUs to a thread.
        preemptions: How often a CPU was taken from a thread that could go on.
        wakeups: Threads that were woken.
        transfers: Lines that moved from one CPU to another.
        transfer_ns: How long that took.
        in_flight_ns: The sum over time of the operations under way.
        latency_ns: The sum of the latencies within the time that was measured, with operations that have not ended.
        lived_ns: How long the threads lived, all together.
        findings: Why it could not go on; at most one.
        results: What the threads that ended returned, by name.
    """

    elapsed: int
    operations: Mapping[str, Operations]
    locks: tuple[LockUse, ...]
    times: Mapping[ThreadState, int]
    steps: int
    switches: int
    preemptions: int
    wakeups: int
    transfers: int
    transfer_ns: int
    in_flight_ns: int
    latency_ns: int
    lived_ns: int
    findings: tuple[Finding, ...]
    results: Mapping[str, Any]

    @property
    def count(self) -> int:
        """How many operations ended."""
        return sum(each.count for each in self.operations.values())

    @property
    def throughput(self) -> float:
        """Operations that ended, in a second."""
        return self.count / self.elapsed * 1e9 if self.elapsed else 0.0

    @property
    def latencies(self) -> Operations:
        """All operations together."""
        merged = array("q")
        for each in self.operations.values():
            merged.extend(each.latencies)
        return Operations("all", array("q", sorted(merged)))

    def violations(self) -> tuple[Violation, ...]:
        """Return what does not add up: S1, Little's law; S2, the times of the states.

        The sum over time of the operations under way was kept at each begin and end, and the latencies were added one by one.
        """
        found = []
        if self.in_flight_ns != self.latency_ns:
            words = f"{self.in_flight_ns} ns of operations under way, {self.latency_ns} ns of latencies"
            found.append(Violation("S1", words))
        if sum(self.times.values()) != self.lived_ns:
            found.append(Violation("S2", f"the states add up to {sum(self.times.values())} ns of {self.lived_ns}"))
        return tuple(found)


class Book:
    """The counts of a running simulation."""

    def __init__(self, now: int) -> None:
        self._uses: dict[str, LockUse] = {}
        self._began: dict[tuple[int, str], int] = {}
        self._stop: int | None = None
        self._warm_up = 0
        self._restart(now)

    def warmed(self, now: int) -> None:
        """End the warm-up: forget what was counted, and count operations under way from now on."""
        self._warm_up = 0
        self._restart(now)

    def _restart(self, now: int) -> None:
        self.start = now
        self.times = [0] * len(ThreadState)
        self.steps = self.switches = self.preemptions = self.wakeups = self.transfers = self.transfer_ns = 0
        for use in self._uses.values():
            use.clear()
        self._latencies: dict[str, array[int]] = {}
        self._ended = 0
        self._under_way = len(self._began)
        self._area = self._sum = 0
        self._last = now
        self.due = False

    def stops_at(self, operations: int | None, warm_up: int) -> None:
        """Set after how many operations to stop, and before how many nothing is measured."""
        self._stop, self._warm_up = operations, warm_up
        self._look()

    def _look(self) -> None:
        limit = self._warm_up or self._stop
        self.due = limit is not None and self._ended >= limit

    @property
    def finished(self) -> bool:
        """Whether all operations have ended that are to be measured."""
        return not self._warm_up and self._stop is not None and self._ended >= self._stop

    def use_of(self, lock: Lock) -> LockUse:
        """Return the counts of a lock's type, to which one more lock belongs."""
        use = self._uses.setdefault(lock.type, LockUse(lock.type))
        use.locks += 1
        return use

    def begin(self, thread: int, what: str, now: int) -> None:
        """Note that a thread begins an operation."""
        self._area += self._under_way * (now - self._last)
        self._last = now
        self._under_way += 1
        self._began[thread, what] = now

    def end(self, thread: int, what: str, now: int) -> bool:
        """Note that a thread ends an operation; return whether it had begun one."""
        began = self._began.pop((thread, what), None)
        if began is None:
            return False
        self._area += self._under_way * (now - self._last)
        self._last = now
        self._under_way -= 1
        self._sum += now - max(began, self.start)
        latencies = self._latencies.get(what)
        if latencies is None:
            latencies = self._latencies[what] = array("q")
        latencies.append(now - began)
        self._ended += 1
        if self._ended == (self._warm_up or self._stop):
            self.due = True
        return True

    def measured(self, now: int, lived_ns: int, found: Finding | None, results: Mapping[str, Any]) -> Measured:
        """Return what was measured until now."""
        open_ns = sum(now - max(began, self.start) for began in self._began.values())
        return Measured(
            now - self.start,
            {what: Operations(what, array("q", sorted(each))) for what, each in sorted(self._latencies.items())},
            tuple(attrs.evolve(use) for use in self._uses.values()),
            dict(zip(ThreadState, self.times, strict=True)),
            self.steps,
            self.switches,
            self.preemptions,
            self.wakeups,
            self.transfers,
            self.transfer_ns,
            self._area + self._under_way * (now - self._last),
            self._sum + open_ns,
            lived_ns,
            (found,) if found else (),
            results,
        )
