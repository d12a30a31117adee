"""A11: an RFC that makes one pool of the pages that a pipe keeps and those that a write takes ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.designs import DESIGNS
from coalloc.kernel.linux import LinuxCalls
from coalloc.patches.patch import Constant, Figure, Outcome, Patch, change_of
from coalloc.patches.pipe_bench import CELLS, SHARES, linux_state, pipe_bench, prices
from coalloc.pipes.eras import LinuxState
from coalloc.pipes.linux import LinuxPipes
from coalloc.sched.explore import SearchResult, explore
from coalloc.sched.hardware import SERVER
from coalloc.sched.machine import Machine
from coalloc.units import KiB, MiB

__all__ = ["OFFERED"]

_BEFORE: Final = linux_state("linux-7.2")
_AFTER: Final = attrs.evolve(_BEFORE, name="RFC of 26 June 2026", one_pool=True)
_COPY_NS: Final = 400
_XEON: Final = attrs.evolve(SERVER, cpus=52, cpus_per_socket=52)


def _run(tell: Callable[[str], None]) -> Outcome:
    figures: list[Figure] = []
    for size in (64 * KiB, 16 * KiB, 4 * KiB):
        gains = []
        for writers, readers in CELLS:
            tell(f"{size // KiB} KiB, W={writers} R={readers}")
            old, new = (
                pipe_bench(state, writers, readers, prices(_COPY_NS), _XEON, size=size, milliseconds=20)
                for state in (_BEFORE, _AFTER)
            )
            gains.append(change_of(old.throughput, new.throughput))
        told = 23 if size == 64 * KiB else None
        figures.append(Figure(f"{size // KiB} KiB: the best of nine cells", max(gains), told, "%", no_change=0))
        figures.append(Figure(f"{size // KiB} KiB: the worst", min(gains), None, "%", no_change=0))
    tell("every schedule of two writers and a reader")
    found = explore_pool(_AFTER)
    figures.append(Figure("broken invariants of the pool", found.finding is not None, 0))
    whole = "all" if found.complete else "so many"
    return Outcome(
        tuple(figures),
        (
            f"No page lost, freed twice or kept beyond the limits, in {whole} {found.schedules:,} schedules."
            if found.finding is None
            else str(found.finding),
        ),
    )


def explore_pool(state: LinuxState) -> SearchResult:
    """Run every schedule of a few preemptions of two writers and a reader, and watch the pool at each step."""
    return explore(lambda: _machine(state), preemptions=2, most=4000)


def _machine(state: LinuxState) -> Machine:
    pipes = LinuxPipes(DESIGNS["linux"].build(state, MiB).space, state=state)
    calls, pipe = LinuxCalls(pipes), pipes.pipe()
    pipe.set_size(16 * KiB)
    machine = Machine(watch=pipes.violations)
    for number in range(2):
        machine.spawn(f"writer {number}", calls.write(pipe, 12 * KiB))
    machine.spawn("reader", calls.read(pipe, 16 * KiB))
    return machine


OFFERED: Final = (
    Patch(
        "A11",
        "the pages that a pipe keeps and those taken ahead are one pool",
        "Linux RFC, 26 June 2026; lkml 2606.3",
        _BEFORE,
        _AFTER,
        "pipe_bench, as A10, on 52 CPUs of one socket",
        "up to 23 % better; 'probably wrong (!?)'",
        _run,
        (
            Constant("copy a page", _COPY_NS, "ns", "assumed; gains hardly depend on it"),
            *(Constant(name, share, "copies", "python -m benchmarks.page_prices") for name, share in SHARES.items()),
        ),
        rank=11,
    ),
)
