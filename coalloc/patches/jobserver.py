"""`run_jobserver`: processes of make(1) that share a pipe of tokens, and read it without blocking."""

from __future__ import annotations

from typing import Final

import attrs

from coalloc.errors import PipeError
from coalloc.kernel.pipelock import LockedPipe, PipelockRules
from coalloc.patches.patch import Constant
from coalloc.sched.hardware import SERVER
from coalloc.sched.ops import Acquire, Body, Finish, SleepOn, Spend, Start
from coalloc.sched.simulation import Simulation

__all__ = ["ASSUMED", "JOBS_NS", "Jobserver", "run_jobserver"]

_MACHINE: Final = attrs.evolve(SERVER, cpus=104, cpus_per_socket=52)
_COPY_NS, _ENTER_NS = 400, 100
JOBS_NS: Final = (20_000, 200_000, 5_000_000)
"""How long jobs take in the runs of A5 and A7: from a pipe that is always busy to one that hardly is."""
ASSUMED: Final = (
    Constant("a job, and the time until the next try", JOBS_NS[0], "ns", "assumed; also 200 us and 5 ms"),
    Constant("copy a page", _COPY_NS, "ns", "assumed"),
    Constant("enter a call", _ENTER_NS, "ns", "assumed"),
)


@attrs.frozen
class Jobserver:
    """What a run came to.

    Args:
        empty: Of the reads, the share that found no token.
        wakeups: Threads that were woken, for each read, with the writes that give tokens back.
        acquisitions: Acquisitions of the pipe's mutex for each read, without writes.
        latency: The mean time of a read, in nanoseconds.
    """

    empty: float
    wakeups: float
    acquisitions: float
    latency: float


def run_jobserver(
    rules: PipelockRules, makes: int, tokens: int, *, job_ns: int = JOBS_NS[0], reads: int = 4000
) -> Jobserver:
    """Let processes take tokens, work, and give them back; one that gets none tries again after as long.

    Args:
        rules: How pipelock works.
        makes: Processes, on 104 CPUs.
        tokens: Tokens in the pipe at first.
        job_ns: How long a job takes, in nanoseconds.
        reads: How many reads to measure, after a tenth of them.
    """
    pipe = LockedPipe(rules, cnt=tokens, copy_page=_COPY_NS, enter=_ENTER_NS)
    came: list[tuple[bool, int]] = []

    def make(number: int) -> Body:
        yield Spend(number * 37)
        while True:
            yield Start("read")
            tally = [0]
            try:
                yield from _counting(pipe.read(1, nonblock=True), tally)
                got = True
            except PipeError:
                got = False
            came.append((got, tally[0]))
            yield Finish("read")
            yield Spend(job_ns)
            if got:
                yield from pipe.write(1)

    simulation = Simulation(_MACHINE)
    for number in range(makes):
        simulation.spawn(f"make {number}", make(number))
    measured = simulation.run(operations=reads, warm_up=reads // 10)
    assert not measured.findings, measured.findings
    n = measured.count
    last = came[-n:]
    return Jobserver(
        sum(not got for got, _ in last) / n,
        measured.wakeups / n,
        sum(taken for _, taken in last) / n,
        measured.operations["read"].mean,
    )


def _counting(call: Body, tally: list[int]) -> Body:
    """Make a call, and count how often it takes a lock, after a sleep, too."""
    answer = None
    while True:
        try:
            op = call.send(answer)
        except StopIteration as ended:
            return ended.value
        tally[0] += isinstance(op, Acquire) or (isinstance(op, SleepOn) and op.lock is not None)
        answer = yield op
