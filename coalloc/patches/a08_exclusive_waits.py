"""A8: Linux lets readers and writers wait in queues of their own, and a wakeup wakes one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import attrs

from coalloc.kernel.linux import CallCosts, LinuxCalls
from coalloc.patches.bench import linux_pipes, linux_state
from coalloc.patches.patch import Constant, Figure, Patch, Predicted
from coalloc.pipes.eras import LinuxState, ReadWakes, WriteWakes
from coalloc.pipes.linux import LinuxPipe
from coalloc.scenarios.chart import Chart, ChartLine
from coalloc.sched.hardware import SERVER
from coalloc.sched.measured import Measured
from coalloc.sched.ops import Body, Finish, Spend, Start
from coalloc.sched.simulation import Simulation

__all__ = ["LINUX_55", "OFFERED", "pass_tokens"]

LINUX_55: Final = attrs.evolve(
    linux_state("linux-5.4"),
    name="linux-5.5",
    write_wakes=WriteWakes.EMPTY,
    read_wakes=ReadWakes.FULL,
    sync_wakeups=True,
)
"""Linux 5.5: both sides in one queue, of which a wakeup wakes all."""
_AFTER: Final = attrs.evolve(LINUX_55, name="0ddad21d3e99", two_queues=True, exclusive_waits=True)
_PROCESSES: Final = 64
_MACHINE: Final = attrs.evolve(SERVER, cpus=16, cpus_per_socket=16)
_COSTS: Final = CallCosts(enter=200, copy_page=400)
_PACE_NS: Final = 200_000
"""Longer than it takes all processes to fall asleep again."""
_COUNTER, _IGNORED = struct.Struct("<i").pack, struct.pack("<i", -1)


def pass_tokens(state: LinuxState, processes: int, *, pace_ns: int = 0, transfers: int = 2000) -> Measured:
    """Pass a counter round between processes, as the test of 0ddad21d3e99 does; a transfer is an operation.

    Args:
        state: The version of Linux.
        processes: Processes, >= 2.
        pace_ns: How long each waits before it passes the counter on.
        transfers: How many to measure.
    """
    pipes = linux_pipes(state)
    calls, pipe = LinuxCalls(pipes, _COSTS), pipes.pipe()
    pipe.write(1, _COUNTER(0) + _IGNORED)
    simulation = Simulation(_MACHINE)
    for number in range(processes):
        simulation.spawn(f"process {number}", _process(calls, pipe, Spend(pace_ns)))
    measured = simulation.run(operations=transfers, warm_up=transfers // 4)
    assert not measured.findings, measured.findings
    return measured


def _process(calls: LinuxCalls, pipe: LinuxPipe, pace: Spend) -> Body:
    while True:
        read = bytearray()
        yield from calls.read(pipe, 4, into=read)
        (counter,) = struct.unpack("<i", read)
        if counter >= 0:
            yield Start("transfer")
            yield pace
            yield from calls.write(pipe, _COUNTER(counter + 1) + (_IGNORED if counter % 2 else b""))
            yield Finish("transfer")


def _run(tell: Callable[[str], None]) -> Predicted:
    tell(f"{_PROCESSES} processes, back to back")
    old, new = (pass_tokens(state, _PROCESSES) for state in (LINUX_55, _AFTER))
    paced: dict[str, list[tuple[float, float]]] = {state.name: [] for state in (LINUX_55, _AFTER)}
    for processes in (2, 4, 8, 16, 32, _PROCESSES):
        tell(f"{processes} processes, paced")
        for state in (LINUX_55, _AFTER):
            run = pass_tokens(state, processes, pace_ns=_PACE_NS, transfers=200)
            paced[state.name].append((processes, run.wakeups / run.count))
    queue = max(old.locks, key=lambda lock: lock.hold_ns)
    lines = tuple(ChartLine(name, tuple(points)) for name, points in paced.items())
    herd, one = (paced[state.name][-1][1] for state in (LINUX_55, _AFTER))
    return Predicted(
        (
            Figure("us a transfer, before", old.elapsed / old.count / 1000, 14.62, "us"),
            Figure("us a transfer, after", new.elapsed / new.count / 1000, 1.70, "us"),
            Figure("switches a transfer, before", old.switches / old.count, 11.25),
            Figure("switches a transfer, after", new.switches / new.count, 1.21, no_change=old.switches / old.count),
            Figure("woken, all asleep, before", herd),
            Figure("woken, all asleep, after", one),
        ),
        (f"Back to back, {queue.contended / queue.acquisitions:.0%} of those who take the queue's lock wait, before.",),
        (Chart("A8: who is woken at each transfer, all others asleep", "processes", "wakeups a transfer", lines),),
    )


OFFERED: Final = (
    Patch(
        "A8",
        "readers and writers wait in queues of their own, and one of them is woken",
        "Linux 5.6, February 2020, 0ddad21d3e99",
        LINUX_55,
        _AFTER,
        f"{_PROCESSES} processes pass a counter through one pipe, on 16 CPUs; back to back as published, and paced",
        "14.62 us and 11.25 switches a transfer before, 1.70 us and 1.21 switches after; 63 processes wait",
        _run,
        (
            Constant("wake a thread", SERVER.wakeup, "ns", "assumed, see SERVER"),
            Constant("enter a call", _COSTS.enter, "ns", "assumed"),
            Constant("until a counter goes on, where all are asleep", _PACE_NS, "ns", "assumed"),
        ),
        lacks="Back to back, two are asleep at a transfer, where the published run had eleven: the others stand at the queue's"
        " lock, which is held for waking.  In the published run a switch came to 98,000 cycles before the patch; the model has"
        " nothing that costs so much.",
        rank=8,
    ),
)
