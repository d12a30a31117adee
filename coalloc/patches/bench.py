"""`pipe_bench`: the load of Linux's tools/testing/selftests/pipe/pipe_bench.c: writers and readers on one pipe.

Every thread is always inside its call, so throughput is writers * bytes of a write / mean latency: one figure, not two.

Source: pipe_bench.c as merged in May 2026: threads of one process, 64 KiB a call, a pipe of 1 MiB.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

import attrs

from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.kernel.linux import CallCosts, LinuxCalls
from coalloc.patches.patch import Constant, change_of
from coalloc.pipes.eras import LinuxState
from coalloc.pipes.linux import LinuxPipes
from coalloc.pipes.states import STATES
from coalloc.sched.hardware import Hardware
from coalloc.sched.ops import Body, Finish, Spend, Start
from coalloc.sched.simulation import Simulation
from coalloc.units import KiB, MiB

__all__ = [
    "ARM_GUEST",
    "CELLS",
    "GUEST_CONSTANTS",
    "LEAST",
    "MOST",
    "SHARES",
    "Cell",
    "linux_pipes",
    "linux_state",
    "pipe_bench",
    "pipe_bench_gains",
    "prices",
]

CELLS: Final = tuple((writers, readers) for readers in (1, 5, 10) for writers in (1, 2, 5))
"""Writers and readers of each cell, as the program sweeps them."""
ARM_GUEST: Final = Hardware(
    cpus=16, cpus_per_socket=16, atomic=8, same_socket=46, switch=1300, wakeup=2500, wake_latency=2500
)
"""A virtual arm64 machine of 16 CPUs."""
_ENTER_NS: Final = 200
_BETWEEN_NS: Final = 400
"""The most time between two calls, which is drawn: without it threads go in step."""
_ROUND_TRIP: Final = "perf bench sched pipe, arm64 guest"
GUEST_CONSTANTS: Final = (
    Constant("enter a call", _ENTER_NS, "ns", "assumed"),
    Constant("between two calls, at most", _BETWEEN_NS, "ns", "assumed; drawn"),
    Constant("an atomic operation", ARM_GUEST.atomic, "ns", "assumed"),
    Constant("move a line between CPUs", ARM_GUEST.same_socket, "ns", "Graviton 3, core-to-core-latency"),
    Constant(
        "wake a thread", ARM_GUEST.wakeup, "ns", f"half of (12.6 - 7.6) us, without and with polling, {_ROUND_TRIP}"
    ),
    Constant(
        "until it runs",
        ARM_GUEST.wake_latency + ARM_GUEST.switch,
        "ns",
        f"the rest of half a round trip of 12.6 us, {_ROUND_TRIP}",
    ),
)
SHARES: Final = {"alloc_page": 1.15, "copy_page": 1.0, "free_page": 0.48}
"""What a page costs: medians of 13 runs of ``python -m benchmarks.page_prices`` (Linux 6.18.44, x86, 2 CPUs).

1 is what a page costs besides, in or out: copying it, and all else that is done under the mutex.
"""
LEAST, MOST = SHARES | {"alloc_page": 0.78, "free_page": 0.41}, SHARES | {"alloc_page": 1.60, "free_page": 0.54}
"""The least and the most of these runs."""


def linux_state(name: str) -> LinuxState:
    """Return a version of Linux by its name.

    Raises:
        InvalidRequestError: If there is none of this name.
    """
    state = STATES.get(name)
    if not isinstance(state, LinuxState):
        there = ", ".join(each.name for each in STATES.values() if isinstance(each, LinuxState))
        raise InvalidRequestError("name", name, f"is no version of Linux; there are {there}")
    return state


def linux_pipes(state: LinuxState, limit: int = 64 * MiB) -> LinuxPipes:
    """Return a system of pipes of a version of Linux, with pages of so many bytes."""
    return LinuxPipes(DESIGNS["linux"].build(state, limit).space, state=state)


def prices(copy_ns: float, slower: float = 1, shares: Mapping[str, float] = SHARES) -> CallCosts:
    """Return the prices of a machine that moves a page in or out in so many nanoseconds.

    Args:
        copy_ns: That price, >= 0.
        slower: How many times as long an allocation takes.
        shares: What a page costs, in such prices.
    """
    costs = CallCosts(enter=_ENTER_NS, **{what: share * copy_ns for what, share in shares.items()})
    return attrs.evolve(costs, alloc_page=costs.alloc_page * slower)


@attrs.frozen
class Cell:
    """What a cell came to.

    Args:
        throughput: MiB written in a second.
        latency: The mean time of a write, in nanoseconds.
        contended: Of the acquisitions of the pipe's mutex, the share that had to wait.
    """

    throughput: float
    latency: float
    contended: float


def pipe_bench(
    state: LinuxState,
    writers: int,
    readers: int,
    costs: CallCosts,
    hardware: Hardware = ARM_GUEST,
    *,
    size: int = 64 * KiB,
    milliseconds: int = 60,
) -> Cell:
    """Run a cell.

    Args:
        state: The version of Linux.
        writers: Threads that write, >= 1.
        readers: Threads that read, >= 1.
        costs: What calls cost.
        hardware: The machine.
        size: Bytes of each write and read.
        milliseconds: How long, in simulated time, >= 1.

    Raises:
        InvalidRequestError: If a number is out of range.
    """
    for what, value in (("writers", writers), ("readers", readers), ("size", size), ("milliseconds", milliseconds)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(what, value, "must be an int >= 1")
    pipes = linux_pipes(state)
    calls, pipe = LinuxCalls(pipes, costs), pipes.pipe()
    pipe.set_size(MiB)
    drawn = random.Random(0)

    def write() -> Body:
        start, finish = Start("write"), Finish("write")
        while True:
            yield Spend(drawn.randrange(_BETWEEN_NS))
            yield start
            yield from calls.write(pipe, size)
            yield finish

    def read() -> Body:
        while True:
            yield Spend(drawn.randrange(_BETWEEN_NS))
            yield from calls.read(pipe, size)

    simulation = Simulation(hardware)
    for number in range(readers):
        simulation.spawn(f"reader {number}", read())
    for number in range(writers):
        simulation.spawn(f"writer {number}", write())
    measured = simulation.run(until=milliseconds * 1_000_000)
    assert not measured.findings, measured.findings
    (mutex,) = (lock for lock in measured.locks if lock.name == "pipe->mutex")
    written = measured.operations["write"]
    return Cell(
        written.count * size / MiB / (measured.elapsed / 1e9), written.mean, mutex.contended / mutex.acquisitions
    )


def pipe_bench_gains(
    before: LinuxState,
    after: LinuxState,
    costs: CallCosts,
    hardware: Hardware = ARM_GUEST,
    *,
    size: int = 64 * KiB,
    milliseconds: int = 20,
) -> list[float]:
    """Return by how many percent throughput grows in each of :data:`CELLS`; the arguments are those of :func:`pipe_bench`."""
    gains = []
    for writers, readers in CELLS:
        old, new = (
            pipe_bench(state, writers, readers, costs, hardware, size=size, milliseconds=milliseconds).throughput
            for state in (before, after)
        )
        gains.append(change_of(old, new))
    return gains
