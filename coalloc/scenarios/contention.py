"""The scenario ``contention``: pipes on many CPUs at once, in simulated time: how throughput grows, and which lock holds it up.

A thread on each CPU makes a pipe, writes a page, reads it, and closes both ends, again and again (``cycle``); or only makes and
closes pipes (``create``); or two threads pass pages through a pipe of their own (``transfer``).  The system calls are those of
:mod:`coalloc.kernel.process`, or of :mod:`coalloc.kernel.linux` for states of Linux: the generators that the explorers run.

For each number of CPUs: system calls a second, latencies, and of each lock how long it was held and waited for.  Over all
numbers of CPUs: the terms of the universal scalability law, and the knee (:mod:`coalloc.sched.scaling`).

Prices.  Map operations, faults and interrupts cost what the cost model says; lines that move, wakeups and switches what
:data:`~coalloc.sched.hardware.SERVER` says, a machine of two sockets.  Copying a page and entering the kernel have prices of
their own.  None of this was measured on 256 CPUs: what the figures are good for is to compare designs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.kernel.linux import CallCosts, LinuxCalls
from coalloc.kernel.process import Kernel, Process
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState, LinuxState
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.scenarios.chart import Chart, ChartLine
from coalloc.scenarios.options import (
    PRICES,
    SEED,
    TRACE,
    Choice,
    Counts,
    EraName,
    Int,
    Option,
    PlotFile,
    designs_option,
)
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.sched.hardware import SERVER, Hardware
from coalloc.sched.measured import LockUse, Measured, ThreadState
from coalloc.sched.ops import Body, Finish, Spend, Start
from coalloc.sched.scaling import Scaling, fit_amdahl, fit_usl
from coalloc.sched.simulation import Simulation
from coalloc.sched.timeline import Timeline
from coalloc.units import PAGE_SIZE
from coalloc.vm.costs import COSTS, CostModel

__all__ = ["LOADS", "OFFERED", "Contention", "ContentionResult", "run_contention"]

LOADS: Final = ("cycle", "create", "transfer")
_LIMIT: Final = 1 << 32
_ENTER_NS: Final = 100
"""Entering the kernel and leaving it."""
_COPY_NS: Final = 400
"""Copying a page."""
_ALLOC_NS: Final = 60
"""Allocating or freeing a page of Linux's."""
_FILES: Final = 1 << 24
_WARM_UP: Final = 100
"""The most system calls on each CPU before measuring begins."""


@attrs.frozen
class Contention:
    """What a load came to on so many CPUs.

    Args:
        design: The design's name.
        state: The kernel state's name.
        cpus: How many CPUs, each with a thread.
        measured: What was measured.
    """

    design: str
    state: str
    cpus: int
    measured: Measured

    @property
    def busiest(self) -> LockUse:
        """The lock that was waited for longest."""
        return max(self.measured.locks, key=lambda use: use.wait_ns)

    def share(self, ns: int) -> float:
        """Return a time as a share of that of all CPUs."""
        return ns / (self.measured.elapsed * self.cpus)


def run_contention(
    state: KernelState,
    design: Design,
    cpus: int,
    *,
    load: str = "cycle",
    operations: int = 20_000,
    hardware: Hardware = SERVER,
    costs: CostModel = COSTS["measured"],
    seed: int = 0,
    timeline: Timeline | None = None,
) -> Contention:
    """Run a load on so many CPUs.

    Args:
        state: The kernel state, unless the design has its own, and this is not one of Linux.
        design: The design that gives pipes their buffers.
        cpus: CPUs, 1 to 4,096; even for ``transfer``, or 1.
        load: One of :data:`LOADS`.
        operations: System calls to measure, >= 1, after a warm-up of a tenth of them, and of at most 100 on each CPU.
        hardware: What moving a line and so on costs.
        costs: Prices of map operations and faults.
        seed: Seed of what hardware leaves open.
        timeline: Collects what happens, the warm-up included; None collects nothing.

    Raises:
        InvalidRequestError: If a number is out of range, the load is unknown, or what surrounds the pipes is not known.

    Complexity:
        Some 50 us for each system call.
    """
    if load not in LOADS:
        raise InvalidRequestError("load", load, f"must be {', '.join(LOADS[:-1])} or {LOADS[-1]}")
    if type(operations) is not int or operations < 1:
        raise InvalidRequestError("operations", operations, "must be an int >= 1")
    simulation = Simulation(attrs.evolve(hardware, cpus=cpus), seed=seed, timeline=timeline)
    policy = state if isinstance(state, LinuxState) else design.policy(state)
    linux = _LinuxLoads(policy, design) if isinstance(policy, LinuxState) else None
    loads = linux or _FreeBSDLoads(state, design, costs, simulation)
    for cpu, (name, body) in enumerate(loads.threads(load, cpus)):
        simulation.spawn(name, body, cpu=cpu % cpus)
    measured = simulation.run(operations=operations, warm_up=min(operations // 10, _WARM_UP * cpus))
    return Contention(design.name, policy.name, cpus, measured)


# --- loads -------------------------------------------------------------------------------------------------------

_COPY: Final = Spend(_COPY_NS)


def _timed(what: str) -> Callable[[Any], Body]:
    """Return a function that makes a call an operation."""
    begin, end, enter = Start(what), Finish(what), Spend(_ENTER_NS)

    def timed(call: Any) -> Body:  # noqa: ANN401 (a generator of any result)
        yield begin
        yield enter
        result = yield from call
        yield end
        return result

    return timed


_PIPE, _WRITE, _READ, _CLOSE = map(_timed, ("pipe", "write", "read", "close"))


class _FreeBSDLoads:
    """Processes of :mod:`coalloc.kernel.process`."""

    def __init__(self, state: KernelState, design: Design, costs: CostModel, simulation: Simulation) -> None:
        self._kernel = Kernel(
            state,
            design,
            maxpipekva=_LIMIT,
            cpus=simulation.hardware.cpus,
            maxfiles=_FILES,
            maxfilesperproc=_FILES,
            costs=costs,
            simulation=simulation,
        )

    def threads(self, load: str, cpus: int) -> Iterator[tuple[str, Body]]:
        if load != "transfer":
            for cpu in range(cpus):
                process = self._kernel.fork()
                yield f"cpu {cpu}", self._cycles(process) if load == "cycle" else self._creates(process)
            return
        for pair in range(max(cpus // 2, 1)):
            process, ends = self._kernel.fork(), list[int]()
            yield f"writer {pair}", self._writes(process, ends)
            yield f"reader {pair}", self._reads(process, ends)

    def _cycles(self, process: Process) -> Body:
        while True:
            reads, writes = yield from _PIPE(process.pipe())
            yield from _WRITE(self._copied(process.write(writes, PAGE_SIZE)))
            yield from _READ(self._copied(process.read(reads, PAGE_SIZE)))
            yield from _CLOSE(process.close(reads))
            yield from _CLOSE(process.close(writes))

    def _creates(self, process: Process) -> Body:
        while True:
            reads, writes = yield from _PIPE(process.pipe())
            yield from _CLOSE(process.close(reads))
            yield from _CLOSE(process.close(writes))

    def _writes(self, process: Process, ends: list[int]) -> Body:
        ends += yield from process.pipe()
        while True:
            yield from _WRITE(self._copied(process.write(ends[1], PAGE_SIZE)))

    def _reads(self, process: Process, ends: list[int]) -> Body:
        while not ends:
            yield Spend(_COPY_NS)
        while True:
            yield from _READ(self._copied(process.read(ends[0], PAGE_SIZE)))

    def _copied(self, call: Any) -> Body:  # noqa: ANN401 (a generator of any result)
        result = yield from call
        yield _COPY
        return result


class _LinuxLoads:
    """Calls of :mod:`coalloc.kernel.linux`."""

    def __init__(self, state: LinuxState, design: Design) -> None:
        pipes = LinuxPipes(design.build(state, _LIMIT).space, state=state)
        costs = CallCosts(copy_page=_COPY_NS, alloc_page=_ALLOC_NS, free_page=_ALLOC_NS, create=10 * _ALLOC_NS)
        self._calls = LinuxCalls(pipes, costs)

    def threads(self, load: str, cpus: int) -> Iterator[tuple[str, Body]]:
        if load != "transfer":
            for cpu in range(cpus):
                yield f"cpu {cpu}", self._cycles(moves=load == "cycle")
            return
        for pair in range(max(cpus // 2, 1)):
            pipe = self._calls.pipes.pipe()
            yield f"writer {pair}", self._writes(pipe)
            yield f"reader {pair}", self._reads(pipe)

    def _cycles(self, *, moves: bool) -> Body:
        calls = self._calls
        while True:
            pipe = yield from _PIPE(calls.pipe())
            if moves:
                yield from _WRITE(calls.write(pipe, PAGE_SIZE))
                yield from _READ(calls.read(pipe, PAGE_SIZE))
            yield from _CLOSE(calls.close(pipe, 0))
            yield from _CLOSE(calls.close(pipe, 1))

    def _writes(self, pipe: LinuxPipe) -> Body:
        while True:
            yield from _WRITE(self._calls.write(pipe, PAGE_SIZE))

    def _reads(self, pipe: LinuxPipe) -> Body:
        while True:
            yield from _READ(self._calls.read(pipe, PAGE_SIZE))


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class ContentionResult(Result):
    """The outcome of the scenario.

    Args:
        runs: One outcome for each design and number of CPUs, design by design.
        load: The load.
        operations: How many system calls were measured in each.
        costs: The prices.
        timeline: What happened in the last run, if that was asked for.
    """

    runs: tuple[Contention, ...]
    load: str
    operations: int
    costs: CostModel
    timeline: Timeline | None = None

    @property
    def groups(self) -> dict[tuple[str, str], list[Contention]]:
        """The outcomes by design and state."""
        found: dict[tuple[str, str], list[Contention]] = {}
        for run in self.runs:
            found.setdefault((run.design, run.state), []).append(run)
        return found

    def parts(self) -> Iterator[str | Table]:
        """Yield a table for each design, with its law, and where the time goes on the most CPUs."""
        yield f"{self.load}: {self.operations:,} system calls for each number of CPUs, in simulated time"
        yield textwrap.fill(self.costs.words, 80) + "\n"
        for (design, state), runs in self.groups.items():
            yield f"{design}, {state}"
            yield Table(
                (
                    *(Column(name, right=True, no_wrap=True) for name in ("CPUs", "calls/s", "p50 ns", "p99 ns")),
                    Column("waited for", no_wrap=True),
                    *(Column(name, right=True, no_wrap=True) for name in ("held", "waiting")),
                ),
                tuple(self._row(run) for run in runs),
            )
            yield from self._law(runs)
            yield ""
        for (design, state), runs in self.groups.items():
            yield f"{design}, {state}: where the time of {runs[-1].cpus} CPUs goes"
            yield _where(runs[-1])
            yield ""

    def _row(self, run: Contention) -> tuple[str, ...]:
        measured, use = run.measured, run.busiest
        latencies = measured.latencies
        return (
            f"{run.cpus:,}",
            f"{measured.throughput:,.0f}",
            f"{latencies.percentile(50):,}",
            f"{latencies.percentile(99):,}",
            use.name,
            f"{use.hold_ns / (measured.elapsed * use.locks):.0%}",
            f"{run.share(use.wait_ns):.0%}",
        )

    def _law(self, runs: list[Contention]) -> Iterator[str]:
        law = _usl(runs)
        if law is None:
            return
        amdahl = fit_amdahl(_points(runs))
        knee = f"the knee is at {law.knee:,.1f} CPUs" if law.exchange else "there is no knee"
        yield f"scalability law: {law.rate:,.0f}/s on one CPU, {law.serial:.2%} serial, {law.exchange:.4%} exchange;"
        yield f"  {knee}; off by {law.error:.0%}"
        yield f"Amdahl: {amdahl.rate:,.0f}/s on one CPU, {amdahl.serial:.2%} serial; off by {amdahl.error:.0%}"

    def as_json(self) -> object:
        """Return figures, locks and laws."""
        return [
            {
                "design": design,
                "state": state,
                "load": self.load,
                "runs": [_figures(run) for run in runs],
                "usl": None if (law := _usl(runs)) is None else _terms(law),
                "amdahl": None if law is None else _terms(fit_amdahl(_points(runs))),
            }
            for (design, state), runs in self.groups.items()
        ]

    @property
    def failure(self) -> str:
        """What did not add up, or could not go on."""
        for run in self.runs:
            for what in (*run.measured.findings, *run.measured.violations()):
                return f"{run.design} on {run.cpus} CPUs: {what}"
        return ""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Throughput against CPUs."""
        lines = []
        for (design, state), runs in self.groups.items():
            points = _points(runs)
            lines.append(ChartLine(f"{design}, {state}", tuple(points)))
            law = _usl(runs)
            if law is not None:
                at = [points[0][0] * (points[-1][0] / points[0][0]) ** (step / 60) for step in range(61)]
                lines.append(ChartLine("its law", tuple((cpus, law.throughput(cpus)) for cpus in at), dashed=True))
        return (Chart(f"{self.load}: system calls a second", "CPUs", "system calls a second", tuple(lines)),)


def _points(runs: Iterable[Contention]) -> list[tuple[int, float]]:
    return [(run.cpus, run.measured.throughput) for run in runs]


def _usl(runs: list[Contention]) -> Scaling | None:
    points = _points(runs)
    return fit_usl(points) if len(points) > 1 and all(rate for _, rate in points) else None


def _terms(law: Scaling) -> dict[str, float | None]:
    terms: dict[str, float | None] = dict(attrs.asdict(law))
    return terms | {"knee": law.knee if law.exchange else None}


def _where(run: Contention) -> Table:
    """Return how CPUs and threads spend their time, and what each lock costs."""
    times = run.measured.times
    words = {
        ThreadState.RUN: "running, with lines that move",
        ThreadState.SPIN: "spinning",
        ThreadState.BLOCKED: "blocked on a lock",
        ThreadState.ASLEEP: "asleep in a call",
        ThreadState.READY: "waiting for a CPU",
        ThreadState.SWITCH: "waking up and switching",
    }
    rows = [(word, f"{run.share(times[state]):.1%}") for state, word in words.items() if times[state]]
    for use in sorted(run.measured.locks, key=lambda use: -use.wait_ns):
        if use.contended:
            contended = use.contended / use.acquisitions
            rows.append((f"lock {use.name}", f"{run.share(use.wait_ns):.1%} waiting, {contended:.0%} contended"))
    return Table((Column(""), Column("share of all CPUs' time", right=True)), tuple(rows))


def _figures(run: Contention) -> dict[str, object]:
    measured = run.measured
    return {
        "cpus": run.cpus,
        "elapsed_ns": measured.elapsed,
        "operations": measured.count,
        "throughput": measured.throughput,
        "latency_ns": {
            what: {"count": each.count, "mean": each.mean} | {f"p{p}": each.percentile(p) for p in (50, 90, 99, 100)}
            for what, each in (*measured.operations.items(), ("all", measured.latencies))
        },
        "times_ns": {state.name.lower(): ns for state, ns in measured.times.items()},
        "locks": [attrs.asdict(use) for use in measured.locks],
        "wakeups": measured.wakeups,
        "switches": measured.switches,
        "preemptions": measured.preemptions,
        "transfers": measured.transfers,
    }


def _run(
    progress: Progress,
    *,
    cpus: tuple[int, ...],
    design: tuple[Design, ...],
    era: KernelState,
    load: str,
    operations: int,
    costs: CostModel,
    seed: int,
    plot: Path | None,
    perfetto: Path | None,
) -> ContentionResult:
    del plot  # the caller draws the result's chart
    runs: list[Contention] = []
    timeline = None if perfetto is None else Timeline()
    with progress.task("contention", len(cpus) * len(design)) as advance:
        for each in design:
            for count in cpus:
                last = timeline if (each, count) == (design[-1], cpus[-1]) else None
                run = run_contention(
                    era, each, count, load=load, operations=operations, costs=costs, seed=seed, timeline=last
                )
                runs.append(run)
                if advance is not None:
                    advance(len(runs))
    return ContentionResult(tuple(runs), load, operations, costs, timeline)


OFFERED: Final = (
    Scenario(
        "contention",
        "Make, use and close pipes on many CPUs: throughput, latencies, which lock is waited for, and the knee.",
        _run,
        (
            Option("cpus", Counts(), "1,2,4,...,256", "Numbers of CPUs; 1,2,4,...,256 goes on as it begins."),
            attrs.evolve(designs_option(), name="design"),
            Option("era", EraName(), "current", "Whose kernel; states of Linux run with --design linux."),
            Option("load", Choice(LOADS), "cycle", f"What each CPU does: {', '.join(LOADS)}."),
            Option("operations", Int(), 20_000, "System calls to measure for each number of CPUs."),
            PRICES,
            SEED,
            Option("plot", PlotFile(), None, "Write a picture: FILE.svg or FILE.png."),
            TRACE,
        ),
        rank=45,
    ),
)
"""The scenario of this module."""
