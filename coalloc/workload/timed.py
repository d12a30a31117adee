"""`replay_in_time`: a recording on many CPUs in simulated time: what the locks of a design cost, and what per-CPU caches save.

The program is replayed first, in its order, as :func:`~coalloc.workload.replay.replay` does, and what each operation made the
space and the map do is noted.  Then a thread on each CPU does that work at the recorded times.  So what is done does not depend
on time, and two designs are compared on the same work.

Prices are those of the estimate, and what all operations do adds up to it.  Map operations, faults and interrupts cost the
operation that led to them.  What the space does itself (carves, joins, hits in a cache) is spread evenly over its calls, since
a price is that of an allocation and its free together.

Locks are those of :mod:`~coalloc.kernel.process`: buffers that are mapped one by one are mapped under the map's lock; a space
with arenas has a lock of its own, and takes the map's lock to import or release; what the cache of a CPU serves takes none.

Differences from a kernel: an operation that comes late does not delay those of other CPUs that depend on it; the two buffers of
a pipe that is made are mapped under one acquisition of the lock.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import Bench, Design
from coalloc.pipes.eras import Era, KernelState
from coalloc.sched.hardware import SERVER, Hardware
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.measured import LockUse
from coalloc.sched.ops import Acquire, Body, Finish, Spend, Start, Unlock
from coalloc.sched.simulation import Simulation
from coalloc.space.adapter import adapted
from coalloc.space.forwarding import ForwardedCpu, ForwardingSpace
from coalloc.space.protocol import per_cpu
from coalloc.vm.costs import COSTS, CostModel
from coalloc.vm.kernelmap import COUNTED, KernelMap
from coalloc.workload.program import PipeProgram
from coalloc.workload.replay import replay

__all__ = ["Timed", "has_known_locks", "replay_in_time"]

_FAULTS: Final = COUNTED.index("faults")
_SHOOTDOWNS: Final = COUNTED.index("tlb_shootdowns")
_LATEST_US: Final = 1 << 50
"""Recorded times, in microseconds, that a simulation can come to."""


@attrs.frozen
class Timed:
    """What the locks of a design cost under a recording; times in nanoseconds.

    Args:
        design: The design's name.
        cpus: How many CPUs there were.
        operations: Operations that got, gave back or changed a buffer, or touched pages.
        without_lock: Those of them that took no lock.
        mean: The mean time of these operations, with waiting.
        p99: The time that 99 % of them do not exceed.
        wait_ns: How long they waited for locks, all together.
        longest_wait: The longest wait.
        locks: What each lock cost.
        elapsed: Until the last operation had ended.
        late_ns: The longest time by which an operation began later than recorded.
    """

    design: str
    cpus: int
    operations: int
    without_lock: int
    mean: float
    p99: int
    wait_ns: int
    longest_wait: int
    locks: tuple[LockUse, ...]
    elapsed: int
    late_ns: int

    @property
    def held(self) -> float:
        """The share of the time that the lock was held that was held longest; 0 without locks."""
        return max((use.hold_ns for use in self.locks), default=0) / self.elapsed if self.elapsed else 0.0


@attrs.frozen
class _Work:
    """What an operation made space and map do: at which time, with how many calls, and for how long, in nanoseconds."""

    at: int
    calls: int
    map_ns: int
    fault_ns: int
    locked: bool


class _Counting(ForwardingSpace):
    """Count the calls that change a space: its own figures may cost much to look at."""

    calls = 0

    def alloc(self, size: int) -> int:
        self.calls += 1
        return super().alloc(size)

    def free(self, base: int) -> None:
        self.calls += 1
        super().free(base)

    def resize(self, base: int, size: int) -> int:
        self.calls += 1
        return super().resize(base, size)


class _CountingPerCpu(ForwardedCpu, _Counting):
    pass


def _counted(design: Design, state: KernelState, kernel: KernelMap, limit: int, **settings: object) -> _Counting:
    space = adapted(design.make_space(state, kernel, limit, **settings), kernel, limit=limit)
    return (_CountingPerCpu if per_cpu(space, kernel.cpus) is not None else _Counting)(space)


def has_known_locks(design: Design, era: KernelState) -> bool:
    """Tell whether a design's pipes are FreeBSD's or of a kernel that comes from it: of Linux and illumos the locks differ."""
    return isinstance(design.policy(era), Era)


def replay_in_time(
    program: PipeProgram,
    design: Design,
    *,
    era: KernelState,
    limit: int,
    cpus: int,
    costs: CostModel = COSTS["measured"],
    hardware: Hardware = SERVER,
) -> Timed:
    """Replay a program on so many CPUs, in simulated time.

    Args:
        program: The program; the CPU of an operation is the recorded one, or drawn from its pipe's number.
        design: The design that gives pipes their buffers.
        era: The era whose pipe policy holds.
        limit: maxpipekva in bytes.
        cpus: CPUs, 1 to 4,096.
        costs: Prices of map operations, faults and the space's work.
        hardware: What moving a line, a wakeup and a switch cost.

    Raises:
        InvalidRequestError: If a number is out of range, the program is none of pipes, an operation comes later than after
            36 years, or the design's kernel has other locks (:func:`has_known_locks`).

    Complexity:
        That of a replay that looks at the counters after each operation, and some 20 us for each that had work.
    """
    if not isinstance(program, PipeProgram):
        raise InvalidRequestError("cpus", cpus, "a program of pipes is needed: one of buffers has no times")
    if not has_known_locks(design, era):
        raise InvalidRequestError("design", design.name, "has a kernel whose locks are not modelled here")
    times = program.columns()[0]
    if times and times[-1] > _LATEST_US:
        raise InvalidRequestError(
            "program", times[-1], f"an operation comes after {_LATEST_US:,} us, which is too late"
        )
    work, call_ns = _work(program, design, era, limit, cpus, costs)
    by_cpu: dict[int, list[_Work]] = {}
    for cpu, each in work:
        by_cpu.setdefault(cpu, []).append(each)
    map_lock = Lock("kernel map", LockKind.SX)
    space_lock = map_lock if design.one_by_one else Lock("arenas")
    late: list[int] = []
    simulation = Simulation(attrs.evolve(hardware, cpus=cpus))
    for cpu in sorted(by_cpu):
        simulation.spawn(f"CPU {cpu}", _cpu(by_cpu[cpu], call_ns, space_lock, map_lock, simulation, late), cpu=cpu)
    measured = simulation.run()
    assert not measured.findings, measured.findings
    latencies = measured.latencies
    return Timed(
        design.name,
        cpus,
        len(work),
        sum(not each.locked for _, each in work),
        latencies.mean,
        latencies.percentile(99),
        sum(use.wait_ns for use in measured.locks),
        max((use.longest_wait for use in measured.locks), default=0),
        measured.locks,
        measured.elapsed,
        max(late, default=0),
    )


def _work(
    program: PipeProgram, design: Design, era: KernelState, limit: int, cpus: int, costs: CostModel
) -> tuple[list[tuple[int, _Work]], float]:
    """Replay the program; return the CPU and the work of each operation that had any, and what the space takes for a call."""
    prices = [costs.prices[event].ns for event in COUNTED]
    ipi = costs.prices["ipis"].ns
    found: list[tuple[int, _Work]] = []
    times, on = program.columns()[0], program.cpus_of(cpus)
    before = (0,) * len(COUNTED)
    calls = 0

    def watch(number: int, _live: int, bench: Bench) -> None:
        nonlocal before, calls
        space = bench.space
        assert isinstance(space, _Counting)  # so it was built
        cpu, counted, called = next(on), bench.kernel.counted(), space.calls
        if called == calls and counted == before:
            return
        done = [late - early for late, early in zip(counted, before, strict=True)]
        before, n_calls, calls = counted, called - calls, called
        fault_ns = done[_FAULTS] * prices[_FAULTS]
        map_ns = sum(price * n for price, n in zip(prices, done, strict=True)) - fault_ns
        map_ns += ipi * done[_SHOOTDOWNS] * (bench.kernel.cpus - 1)
        cached = isinstance(space, _CountingPerCpu) and not map_ns
        locked = (n_calls > 0 and not cached) or map_ns > 0
        found.append((cpu, _Work(times[number - 1] * 1000, n_calls, round(map_ns), round(fault_ns), locked)))

    counting = attrs.evolve(design, make_space=partial(_counted, design))
    outcome = replay(program, counting, era=era, limit=limit, samples=1, cpus=cpus, watch=watch)
    own_ns = sum(n * costs.prices[event].ns for event, n in attrs.asdict(outcome.work).items())
    return found, own_ns / calls if calls else 0.0


def _cpu(
    work: list[_Work], call_ns: float, space_lock: Lock, map_lock: Lock, simulation: Simulation, late: list[int]
) -> Body:
    """Do the work of a CPU, each piece no earlier than it was recorded, and note how late it begins."""
    start, finish = Start("operation"), Finish("operation")
    owed = 0.0
    for each in work:
        if each.at > simulation.now:
            yield Spend(each.at - simulation.now)
        late.append(simulation.now - each.at)
        owed += each.calls * call_ns
        own = Spend(int(owed))
        owed -= own.ns  # fractions are not lost
        yield start
        if each.locked:
            yield Acquire(space_lock)
            yield own
            if each.map_ns:
                if map_lock is not space_lock:
                    yield Acquire(map_lock)
                yield Spend(each.map_ns)
                if map_lock is not space_lock:
                    yield Unlock(map_lock)
            yield Unlock(space_lock)
        else:
            yield own
        yield Spend(each.fault_ns)
        yield finish
