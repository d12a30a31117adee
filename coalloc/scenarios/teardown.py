"""The scenario ``teardown``: make very many pipes, write to each once, close them all, and count the work of the map.

DragonFly's developers found in August 2017 that closing 900,000 pipes took up to an hour.  Each buffer is unmapped on its own,
and each unmapping of a touched buffer interrupts every other CPU.  A cache of mappings helps with pipes that come and go, but
not here: it keeps a few, and tears down the rest.  Arenas are released whole.

The map sees only buffers.  There is room for all, so one sample pipe tells every pipe's buffer sizes.  The buffers are then
allocated directly.  These are the same calls in the same order, in two thirds of the time.

Source: the DragonFly commits of 2017-August/763894; B30, B50.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import Design
from coalloc.pipes.eras import PIPE_SIZE, KernelState
from coalloc.pipes.states import ERAS, STATES
from coalloc.pipes.system import PipeSystem
from coalloc.scenarios.options import CPUS, ERA, PRICES, Int, Option, designs_option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.vm.costs import COSTS, CostModel, SpaceWork
from coalloc.vm.kernelmap import MapCounters

__all__ = ["OFFERED", "TEARDOWN_DESIGNS", "Teardown", "TeardownResult", "run_teardown"]

TEARDOWN_DESIGNS: Final = "per-pipe,dragonfly,coalescing"
"""The designs that are compared unless others are named."""
_TELL: Final = 4096
_MANY: Final = 50_000
"""The number of pipes from which on designs run in processes of their own."""


@attrs.frozen
class Teardown:
    """The costs of a mass close with one design.

    Args:
        design: The design's name.
        era: The era or kernel whose pipe policy held.
        pipes: How many pipes were closed.
        made: The counts of the map until all pipes were made and written to.
        closed: The counts of the map from then until all pipes were closed.
        kept: Bytes that stay mapped.
        estimate_ns: The cost of the close, estimated from counts and prices.
    """

    design: str
    era: str
    pipes: int
    made: MapCounters
    closed: MapCounters
    kept: int
    estimate_ns: float


def run_teardown(
    pipes: int,
    design: Design,
    *,
    era: KernelState = ERAS["2004-01"],
    cpus: int = 2,
    costs: CostModel = COSTS["measured"],
    progress: Callable[[int], None] | None = None,
) -> Teardown:
    """Make so many pipes, write a byte to each, and close them all, in the order in which they were made.

    Args:
        pipes: The number of pipes, >= 1.
        design: The design that gives pipes their buffers; there is always room for all.
        era: The era whose pipe policy holds, unless the design has its own.
        cpus: CPUs, >= 1.
        costs: Prices of the estimate.
        progress: Called with the number of pipes closed so far, now and then.

    Raises:
        InvalidRequestError: If a number is out of range, or the design does not follow this pipe policy (Linux).

    Complexity:
        Some 1.5 KB of memory for a pipe.
    """
    for name, value in (("pipes", pipes), ("cpus", cpus)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(name, value, "must be an int >= 1")
    limit = 8 * PIPE_SIZE * pipes  # so much that no buffer is made small for lack of room
    policy, sizes = _one_pipe(design, era)
    bench = design.build(era, limit, cpus=cpus)
    space = bench.space
    buffers = []
    for _ in range(pipes):
        bases = [space.alloc(size) for size in sizes]
        space.touch(bases[0], 1)
        buffers.append(bases)
    made, joined = bench.kernel.counters(), space.stats().coalesces
    for number, bases in enumerate(buffers):
        for base in bases:
            space.free(base)
        if progress is not None and number % _TELL == 0:
            progress(number)
    ended = bench.kernel.counters()
    names = [field.name for field in attrs.fields(MapCounters)]
    closed = MapCounters(**{name: getattr(ended, name) - getattr(made, name) for name in names})
    freed = sum(map(len, buffers))
    work = SpaceWork(carves=max(freed - closed.unmap_ops, 0), coalesces=space.stats().coalesces - joined)
    return Teardown(design.name, policy, pipes, made, closed, ended.mapped, costs.estimate(closed, work).ns)


def _one_pipe(design: Design, era: KernelState) -> tuple[str, list[int]]:
    """Return the name of the policy that holds, and the sizes of a new pipe's buffers, first of the one written to."""
    limit = 8 * PIPE_SIZE
    system = design.pipes(era, design.build(era, limit).space, limit)
    if not isinstance(system, PipeSystem):
        raise InvalidRequestError("designs", design.name, "has no buffers of address space")
    return system.era.name, [half.size for half in system.pipe().halves if half.size]


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class TeardownResult(Result):
    """The costs of a mass close, design by design.

    Args:
        runs: One outcome for each design.
        designs: The designs.
        pipes: How many pipes were closed.
        cpus: How many CPUs there were.
        costs: The prices of the estimate.
    """

    runs: tuple[Teardown, ...]
    designs: tuple[Design, ...]
    pipes: int
    cpus: int
    costs: CostModel

    def parts(self) -> Iterator[str | Table]:
        """Yield a table with a column for each design."""
        yield f"{self.pipes:,} pipes, a byte written to each, closed in order; {self.cpus} CPUs"
        for run, design in zip(self.runs, self.designs, strict=True):
            yield f"{design.name}: {design.title}" if design.state else f"{design.name}: era {run.era}"
        yield ""
        figures = [_figures(run) for run in self.runs]
        rows = []
        for name in figures[0]:
            cells = [row[name] for row in figures]
            rows.append((name, *(f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}" for cell in cells)))
        designs = (Column(run.design, right=True, no_wrap=True) for run in self.runs)
        yield Table((Column("of the close"), *designs), tuple(rows))
        yield f"\nestimated with {self.costs.words}"

    def as_json(self) -> object:
        """Return the figures and the era, by design."""
        return {run.design: _figures(run) | {"era": run.era} for run in self.runs}


def _figures(run: Teardown) -> dict[str, int | float]:
    return {
        "map operations": run.closed.map_ops,
        "unmap operations": run.closed.unmap_ops,
        "map lock acquisitions": run.closed.lock_acquisitions,
        "TLB shoot-downs": run.closed.tlb_shootdowns,
        "inter-processor interrupts": run.closed.ipis,
        "pages freed": run.closed.pages_freed,
        "bytes still mapped": run.kept,
        "estimated seconds": run.estimate_ns / 1e9,
    }


def _run(
    progress: Progress,
    *,
    pipes: int,
    era: KernelState,
    designs: tuple[Design, ...],
    cpus: int,
    costs: CostModel,
) -> TeardownResult:
    """Run each design; if there are many pipes, run two designs at a time in processes that find them by their names."""
    runs: list[Teardown] = []
    named = STATES.get(era.name) is era and all(DESIGNS.get(design.name) is design for design in designs)
    if pipes < _MANY or not named:
        for design in designs:
            with progress.task(f"closing, {design.name}", pipes) as advance:
                runs.append(run_teardown(pipes, design, era=era, cpus=cpus, costs=costs, progress=advance))
        return TeardownResult(tuple(runs), designs, pipes, cpus, costs)
    import multiprocessing  # imported here because it is slow and only very many pipes need it

    context = multiprocessing.get_context("fork")  # so that they know what this program has registered
    with (
        context.Pool(2, initializer=_begin) as pool,  # which ends its processes at once when this one is interrupted
        progress.task("designs", len(designs)) as advance,
    ):
        longest_first = sorted(designs, key=lambda design: (not design.one_by_one, design.state is None))
        jobs = {
            design.name: pool.apply_async(_job, (design.name, pipes, era.name, cpus, costs)) for design in longest_first
        }
        for design in designs:
            runs.append(jobs[design.name].get())
            if advance is not None:
                advance(len(runs))
    return TeardownResult(tuple(runs), designs, pipes, cpus, costs)


def _begin() -> None:  # pragma: no cover - it changes the whole process, which therefore has to be another one
    """Begin a process: the interrupted parent ends it, and the garbage collector would find nothing to free."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()


def _job(design: str, pipes: int, era: str, cpus: int, costs: CostModel) -> Teardown:
    """Run one design in a process of its own."""
    return run_teardown(pipes, DESIGNS[design], era=STATES[era], cpus=cpus, costs=costs)


OFFERED: Final = (
    Scenario(
        "teardown",
        "Close very many pipes at once: map operations, shoot-downs and interrupts, by design.",
        _run,
        (
            Option("pipes", Int(), 900_000, "Pipes to make and close."),
            ERA,
            designs_option(TEARDOWN_DESIGNS),
            CPUS,
            PRICES,
        ),
        rank=40,
    ),
)
"""The scenario of this module."""
