"""A4: DragonFly lets one thread of each CPU tear pipes down at a time, and wakes one waiter of the map's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.designs import DESIGNS
from coalloc.patches.patch import Constant, Figure, Patch, Predicted
from coalloc.pipes.states import KERNELS
from coalloc.scenarios.teardown import run_teardown
from coalloc.sched.hardware import SERVER
from coalloc.sched.locks import HANDOFF, PER_CPU, Discipline, Lock
from coalloc.sched.measured import Measured
from coalloc.sched.ops import Acquire, Body, Finish, Spend, Start, Unlock
from coalloc.sched.simulation import Simulation
from coalloc.vm.costs import COSTS

__all__ = ["OFFERED"]

_WAKES_ALL: Final = Discipline("sleeping, wakes all", wakes_all=True)
_PIPES: Final = 900_000
_PROCESSES: Final = 900
_CPUS: Final = 48
_MEASURED: Final = 300


def before() -> tuple[Lock, ...]:
    """Return the locks that are held while a buffer is unmapped, the outermost first."""
    return (Lock("kernel map", discipline=_WAKES_ALL),)


def after() -> tuple[Lock, ...]:
    """Return the locks that are held while a buffer is unmapped, the outermost first."""
    return Lock("teardown", discipline=PER_CPU), Lock("kernel map", discipline=HANDOFF)


def _run(tell: Callable[[str], None]) -> Predicted:
    tell("price of an unmapping")
    few = run_teardown(1000, DESIGNS["per-pipe"], era=KERNELS["dragonfly-2017"], cpus=_CPUS)
    unmap_ns = round(few.estimate_ns / few.closed.unmap_ops)
    tell(f"{_PROCESSES} processes")
    old, new = (_tear_down(locks(), unmap_ns) for locks in (before, after))
    seconds = [run.elapsed / run.count * 2 * _PIPES / 1e9 for run in (old, new)]
    return Predicted(
        (
            Figure("times as fast", seconds[0] / seconds[1], 120, no_change=1),
            Figure("seconds to close all, before", seconds[0], None, "s"),
            Figure("seconds to close all, after", seconds[1], None, "s"),
            Figure("wakeups a buffer, before", old.wakeups / old.count),
            Figure("wakeups a buffer, after", new.wakeups / new.count),
        ),
        (
            (
                f"A buffer takes {unmap_ns / 1000:,.0f} us to unmap with the map's lock held, at the prices of"
                f" {_CPUS} CPUs that are interrupted; times two buffers and {_PIPES:,} pipes that is"
                f" {unmap_ns * 2 * _PIPES / 1e9:,.0f} s."
            ),
        ),
    )


def _tear_down(locks: tuple[Lock, ...], unmap_ns: int) -> Measured:
    simulation = Simulation(attrs.evolve(SERVER, cpus=_CPUS, cpus_per_socket=_CPUS // 2))
    for number in range(_PROCESSES):
        simulation.spawn(f"process {number}", _process(locks, Spend(unmap_ns)))
    return simulation.run(operations=_MEASURED, warm_up=_MEASURED // 10)


def _process(locks: tuple[Lock, ...], unmap: Spend) -> Body:
    while True:
        yield Start("buffer")
        for lock in locks:
            yield Acquire(lock)
        yield unmap
        for lock in reversed(locks):
            yield Unlock(lock)
        yield Finish("buffer")


OFFERED: Final = (
    Patch(
        "A4",
        "one thread of each CPU tears pipes down at a time, and the map's lock wakes one waiter",
        "DragonFly, 13 August 2017, 5eab490ea55e",
        before,
        after,
        f"{_PROCESSES} processes on {_CPUS} CPUs close 900,000 pipes of two buffers that were touched",
        "up to an hour before, less than 30 s after: 120 times as fast, at most",
        _run,
        (
            Constant("processes", _PROCESSES, "", "assumed"),
            Constant("CPUs", _CPUS, "", "assumed; the seconds grow with them"),
            Constant("unmap a buffer, alone", COSTS["measured"].prices["unmap_ops"].ns, "ns", COSTS["measured"].words),
        ),
        lacks="The patch also removes a buffer's pages from the pmap at once, so that they cost one interrupt and not one each;"
        " here one page of a buffer is touched.  In the model a lock that is released is taken at once, so that the herd takes"
        " CPU time and holds nobody up.  The hour may come from the scheduler's own locks, which the model does not have.",
        rank=4,
    ),
)
