"""The scenario ``locks``: processes make and close pipes at the same time, and a profile of all locks shows where time goes.

The mail freebsd-current 2004-January/020187 says that mutex profiling found the cost of pipe creation in setting up mappings.
The table shows that place.  With one mapping for each buffer, the map's lock is held nearly all of the time.  With arenas,
another lock is held, for much less time.

Source: that mail, of 31 January 2004; MUTEX_PROFILING(9) and LOCK_PROFILING(9) of FreeBSD; B25, B46.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.kernel.process import Allocations, Call, Kernel, Xint0x80_syscall
from coalloc.pipes.design import PER_PIPE, Design
from coalloc.pipes.eras import KernelState
from coalloc.scenarios.options import CPUS, ERA, PRICES, SEED, STYLES, Choice, Int, Option, Text, designs_option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Result
from coalloc.scenarios.scenario import Scenario
from coalloc.sched.lockprof import LOCK_PROFILING, LockProfile, ProfileStyle
from coalloc.sched.random_driver import RandomDriver
from coalloc.units import MiB
from coalloc.vm.costs import COSTS, CostModel

__all__ = ["OFFERED", "Creation", "CreationResult", "run_creation"]

_MOST_STEPS: Final = 100_000_000


@attrs.frozen
class Creation:
    """The costs of making and closing pipes with one design.

    Args:
        design: The design's name.
        era: The era's name.
        pipes: How many pipes were made and closed.
        profile: Where locks were taken, and for how long they were held.
        allocations: What was set up for all these pipes.
        time: Simulated nanoseconds until the last process had ended.
    """

    design: str
    era: str
    pipes: int
    profile: LockProfile
    allocations: Allocations
    time: int


def run_creation(
    state: KernelState,
    design: Design = PER_PIPE,
    *,
    pipes: int = 1000,
    processes: int = 2,
    cpus: int = 2,
    style: ProfileStyle = LOCK_PROFILING,
    costs: CostModel = COSTS["measured"],
    seed: int = 0,
) -> Creation:
    """Let each process make and close so many pipes, one after the other.

    Args:
        state: The kernel's state.
        design: The design that gives pipes their buffers.
        pipes: Pipes for each process, >= 1.
        processes: Processes, >= 1.
        cpus: CPUs, >= 1.
        style: The style of the profile.
        costs: The prices of events, in time.
        seed: The seed that the schedule is drawn from.

    Raises:
        InvalidRequestError: If a number is out of range, or the design does not follow FreeBSD's pipe policy.
    """
    for name, value in (("pipes", pipes), ("processes", processes)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(name, value, "must be an int >= 1")
    profile = LockProfile(style)
    kernel = Kernel(state, design, maxpipekva=16 * MiB, cpus=cpus, costs=costs, profile=profile)

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
    return Creation(design.name, state.name, pipes * processes, profile, kernel.allocations(), kernel.clock.now)


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class CreationResult(Result):
    """The costs of making and closing pipes, design by design.

    Args:
        runs: One run for each design.
        processes: How many processes made pipes.
        pipes: How many pipes each of them made.
        cpus: How many CPUs there were.
        sort: The column by which the tables are sorted.
        costs: The prices of events.
    """

    runs: tuple[Creation, ...]
    processes: int
    pipes: int
    cpus: int
    sort: str
    costs: CostModel

    def parts(self) -> Iterator[str]:
        """Yield a table for each design, and what was set up for a pipe."""
        yield (
            f"era {self.runs[0].era}; {self.processes} processes make and close {self.pipes:,} pipes each"
            f" on {self.cpus} CPUs; times in us\n"
        )
        for run in self.runs:
            per = {name: n / run.pipes for name, n in attrs.asdict(run.allocations).items()}
            yield f"{run.design}: {run.time / 1e6:.3f} simulated ms"
            yield "for each pipe: " + ", ".join(f"{name} {n:.3g}" for name, n in per.items())
            yield f"{run.profile.text(self.sort)}\n"
        yield f"simulated with {self.costs.words}"

    def as_json(self) -> object:
        """Return rows, counters and allocations, by design."""
        return {
            run.design: {
                "rows": [attrs.asdict(row) for row in run.profile.rows(self.sort)],
                "sysctl": run.profile.sysctl(),
                "allocations": attrs.asdict(run.allocations),
                "time_ns": run.time,
            }
            for run in self.runs
        }


def _run(
    _progress: Progress,
    *,
    era: KernelState,
    designs: tuple[Design, ...],
    pipes: int,
    processes: int,
    cpus: int,
    style: str,
    sort: str,
    costs: CostModel,
    seed: int,
) -> CreationResult:
    kind = STYLES[style]
    LockProfile(kind).rows(sort)  # refuses an unknown column before anything runs
    runs = tuple(
        run_creation(era, design, pipes=pipes, processes=processes, cpus=cpus, style=kind, costs=costs, seed=seed)
        for design in designs
    )
    return CreationResult(runs, processes, pipes, cpus, sort, costs)


OFFERED: Final = (
    Scenario(
        "locks",
        "Profile the locks of creating and closing pipes, as LOCK_PROFILING and MUTEX_PROFILING do.",
        _run,
        (
            ERA,
            designs_option(freebsd=True),
            Option("pipes", Int(), 1000, "Pipes that each process makes and closes."),
            Option("processes", Int(), 2, "Processes that do so at once."),
            CPUS,
            Option("style", Choice(STYLES), "lock", "Whose table: lock (7.0 and later) or mutex."),
            Option("sort", Text(), "total", "A column of the table; the largest comes first."),
            PRICES,
            SEED,
        ),
        rank=50,
    ),
)
"""The scenario of this module."""
