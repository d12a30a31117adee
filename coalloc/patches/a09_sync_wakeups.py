"""A9: Linux tells the scheduler that who writes to a pipe is about to sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.kernel.linux import CallCosts, LinuxCalls
from coalloc.patches.a08_exclusive_waits import LINUX_55
from coalloc.patches.bench import linux_pipes
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of
from coalloc.pipes.eras import LinuxState
from coalloc.sched.hardware import SERVER
from coalloc.sched.measured import Measured
from coalloc.sched.ops import Body, Finish, Spend, Start
from coalloc.sched.simulation import Simulation

__all__ = ["OFFERED"]

_BEFORE: Final = attrs.evolve(LINUX_55, name="b667b8673443", sync_wakeups=False)
_AFTER: Final = attrs.evolve(LINUX_55, name="1b6b26ae7053")
_MACHINE: Final = attrs.evolve(SERVER, cpus=16, cpus_per_socket=16)
_MAKES, _TOKENS = 64, 31
_JOBS_NS: Final = (5_000_000, 200_000)
_GLUE_NS: Final = 20_000
"""What make does itself between two jobs."""


def _build(state: LinuxState, job_ns: int) -> Measured:
    """Let each make take a token, run a job, and give the token back."""
    pipes = linux_pipes(state)
    calls, pipe = LinuxCalls(pipes, CallCosts(enter=200, copy_page=400)), pipes.pipe()
    pipe.write(1, _TOKENS)

    def make(number: int) -> Body:
        while True:
            yield Spend(_GLUE_NS)
            yield Start("token")
            yield from calls.read(pipe, 1)
            yield Finish("token")
            yield Spend(job_ns + number % 7 * job_ns // 10)
            yield from calls.write(pipe, 1)

    simulation = Simulation(_MACHINE)
    for number in range(_MAKES):
        simulation.spawn(f"make {number}", make(number))
    measured = simulation.run(operations=2000, warm_up=500)
    assert not measured.findings, measured.findings
    return measured


def _run(tell: Callable[[str], None]) -> Predicted:
    figures = []
    for job_ns in _JOBS_NS:
        job = f"jobs of {job_ns / 1e6:g} ms"
        tell(job)
        before, after = (_build(state, job_ns) for state in (_BEFORE, _AFTER))
        waits = [run.operations["token"].mean for run in (before, after)]
        figures += [
            Figure(f"{job}: jobs a second", change_of(before.throughput, after.throughput), None, "%", no_change=0),
            Figure(f"{job}: waiting for a token", change_of(*waits), None, "%", no_change=0),
        ]
    return Predicted(tuple(figures))


OFFERED: Final = (
    Patch(
        "A9",
        "a write tells the scheduler that its writer is about to sleep",
        "Linux 5.5, December 2019, 1b6b26ae7053",
        _BEFORE,
        _AFTER,
        f"make -j32: {_MAKES} processes wait for {_TOKENS} tokens in one pipe, on 16 CPUs",
        "builds had become slower without it; no seconds, and not reproduced on another machine",
        _run,
        (
            Constant("makes", _MAKES, "", "assumed"),
            Constant("tokens", _TOKENS, "", "make -j32, less one"),
            Constant("make's own work for a job", _GLUE_NS, "ns", "assumed"),
        ),
        lacks="The slow builds were a race of make 4.2.1: it sees a token, another takes it, and it then waits in read(2) with"
        " SIGCHLD blocked, so that the token of its own child is not given back.  The wakeup changed how often that happened."
        "  The model's make has no such race.  What is left is where the model puts a thread that is woken: near the waker, or"
        " where it ran.",
        rank=9,
    ),
)
