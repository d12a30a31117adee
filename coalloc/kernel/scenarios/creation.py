"""Pipes made and closed one after the other by some processes at once, with every lock profiled: where the time goes.

The mail of 31 January 2004 says that mutex profiling found the cost of pipe creation in setting up mappings.  The table shows
that place: with one mapping for each buffer, the map's lock is held for all of it; with arenas, another lock is, for much less.

Source: facts/kernel.md sections 0 and 4.5; B25, B46.
"""

from __future__ import annotations

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.kernel.config import KernelConfig
from coalloc.kernel.process import Allocations, Call, Kernel, Xint0x80_syscall
from coalloc.pipes.designs import DESIGNS, Design
from coalloc.sched import RandomDriver
from coalloc.sched.lockprof import LOCK_PROFILING, LockProfile, ProfileStyle
from coalloc.units import MiB

__all__ = ["Creation", "run_creation"]

_MOST_STEPS = 100_000_000


@attrs.frozen
class Creation:
    """What creating and closing took.

    Args:
        design: Name of the design.
        era: Name of the era.
        pipes: How many were made and closed.
        profile: Where locks were taken, and for how long they were held.
        allocations: What was set up for all of them.
        time: Simulated nanoseconds until the last process had ended.
    """

    design: str
    era: str
    pipes: int
    profile: LockProfile
    allocations: Allocations
    time: int


def run_creation(
    config: KernelConfig,
    design: Design = DESIGNS["per-pipe"],
    *,
    pipes: int = 1000,
    processes: int = 2,
    cpus: int = 2,
    style: ProfileStyle = LOCK_PROFILING,
    seed: int = 0,
) -> Creation:
    """Let each process make and close so many pipes, one after the other.

    Args:
        config: The kernel's state.
        design: What gives pipes their buffers.
        pipes: Pipes for each process, >= 1.
        processes: Processes, >= 1.
        cpus: CPUs, >= 1.
        style: Which kernel's profile.
        seed: What the schedule is drawn from.

    Raises:
        InvalidRequestError: If a number is out of range, or the design does not follow FreeBSD's pipe policy.
    """
    for name, value in (("pipes", pipes), ("processes", processes)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(name, value, "must be an int >= 1")
    profile = LockProfile(style)
    kernel = Kernel(config, design, maxpipekva=16 * MiB, cpus=cpus, profile=profile)

    def maker() -> Call[None]:
        process = kernel.fork()
        for _ in range(pipes):
            for fd in (yield from Xint0x80_syscall(process.pipe())):
                yield from Xint0x80_syscall(process.close(fd))
        yield from Xint0x80_syscall(process.exit1())

    for number in range(processes):
        kernel.machine.spawn(f"maker {number}", maker())
    run = kernel.machine.run(RandomDriver(seed), max_steps=_MOST_STEPS, record=False)
    assert not run.findings, run.findings
    return Creation(design.name, config.name, pipes * processes, profile, kernel.allocations(), kernel.clock.now)
