"""`run_jobserver`: processes of make(1) that share a pipe of tokens, and read it without blocking."""

from __future__ import annotations

from typing import Final

import attrs

from coalloc.errors import PipeError
from coalloc.kernel.pipelock import LockedPipe, PipelockRules
from coalloc.sched.hardware import SERVER
from coalloc.sched.ops import Body, Finish, Spend, Start
from coalloc.sched.simulation import Simulation

__all__ = ["Jobserver", "run_jobserver"]

_MACHINE: Final = attrs.evolve(SERVER, cpus=104, cpus_per_socket=52)
_JOB_NS: Final = 20_000
_COPY_NS, _ENTER_NS = 400, 100


@attrs.frozen
class Jobserver:
    """What a run came to.

    Args:
        empty: Of the reads, the share that found no token.
        wakeups: Wakeups for each read.
        acquisitions: Acquisitions of the pipe's mutex for each read.
        latency: The mean time of a read, in nanoseconds.
    """

    empty: float
    wakeups: float
    acquisitions: float
    latency: float


def run_jobserver(rules: PipelockRules, makes: int, tokens: int, *, reads: int = 4000) -> Jobserver:
    """Let processes take tokens, work, and give them back; one that gets none tries again after as long.

    Args:
        rules: How pipelock works.
        makes: Processes, on 104 CPUs.
        tokens: Tokens in the pipe at first.
        reads: How many reads to measure.
    """
    pipe = LockedPipe(rules, cnt=tokens, copy_page=_COPY_NS, enter=_ENTER_NS)
    vain = done = 0

    def make(number: int) -> Body:
        nonlocal vain, done
        yield Spend(number * 37)
        while True:
            yield Start("read")
            try:
                yield from pipe.read(1, nonblock=True)
                got = True
            except PipeError:
                got = False
            done, vain = done + 1, vain + (not got)
            yield Finish("read")
            yield Spend(_JOB_NS)
            if got:
                yield from pipe.write(1)

    simulation = Simulation(_MACHINE)
    for number in range(makes):
        simulation.spawn(f"make {number}", make(number))
    measured = simulation.run(operations=reads, warm_up=reads // 10)
    assert not measured.findings, measured.findings
    (mutex,) = measured.locks
    n = measured.count
    return Jobserver(vain / done, measured.wakeups / n, mutex.acquisitions / n, measured.operations["read"].mean)
