"""The scenario ``mail``: the run of the mail of 31 January 2004: programs that touch pages beside programs that make pipes.

Some programs touch fresh pages for ever; the others call pipe() until it fails.  The mail's console showed a lock-order
reversal between a descriptor table's lock and Giant, and the line about maxpipekva.  The reversal appears when a table grows
from 1,024 to 2,048 descriptors: only then is the table that is freed, with the lock held, larger than a page (B40).

Source: the mail freebsd-current 2004-January/020191, of 31 January 2004; FreeBSD kern/kern_descrip.c, fdgrowtable(), and
vm/uma_core.c, uma_large_free(); B12, B39 to B41, B54.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.kernel.process import Call, Kernel, Process, Xint0x80_syscall
from coalloc.pipes.design import PER_PIPE, Design
from coalloc.pipes.eras import KernelState
from coalloc.pipes.states import FIXES
from coalloc.scenarios.options import CPUS, ERA, LIMIT, PRICES, SEED, STYLES, TRACE, Choice, DesignName, Int, Option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.sched.lockprof import LockProfile
from coalloc.sched.locks import Lock
from coalloc.sched.ops import Preempt
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import Finding, FindingKind
from coalloc.sched.schedule import Driver
from coalloc.sched.timeline import Timeline
from coalloc.sched.witness import OrderReport
from coalloc.units import MiB
from coalloc.vm.costs import COSTS, CostModel

__all__ = ["OFFERED", "ConsoleEntry", "MailReport", "MailResult", "Piper", "run_mail"]

_MOST_STEPS: Final = 100_000_000


@attrs.frozen
class ConsoleEntry:
    """A text on the console, and its time in simulated nanoseconds."""

    time: int
    text: str

    def __str__(self) -> str:
        seconds, rest = divmod(self.time, 10**9)
        return f"[{seconds:5}.{rest // 1000:06}] {self.text}"


@attrs.frozen
class Piper:
    """The end of a program that called pipe() until it failed."""

    pid: int
    pipes: int
    errno: int
    fd_sizes: tuple[int, ...]
    """The sizes of its descriptor table, in descriptors, after each growth."""

    @property
    def error(self) -> str:
        """The error's name."""
        return errno.errorcode[self.errno]


@attrs.frozen
class MailResult:
    """The run's outcome.

    Args:
        console: The lines that were printed, in order.
        suppressed: How often the line about maxpipekva was due but not printed, since it is printed at most once a second.
        pipers: The programs that made pipes.
        reversal_at: The old and new size of the table whose growth led to the reversal; None if there was no reversal.
        peak_kva: The most bytes of pipe buffers at any time.
        peak_pages: The most pages that the pagers had.
        after: The state after all programs have exited: pipekva, bytes mapped, arenas, open files, pages.
        time: Simulated nanoseconds.
        steps: Steps of the schedule.
        found: Other findings, such as a deadlock or a broken invariant.
    """

    console: tuple[ConsoleEntry, ...]
    suppressed: int
    pipers: tuple[Piper, ...]
    reversal_at: tuple[int, int] | None
    peak_kva: int
    peak_pages: int
    after: dict[str, int]
    time: int
    steps: int
    found: tuple[Finding, ...]


def run_mail(
    state: KernelState,
    design: Design = PER_PIPE,
    *,
    pagers: int = 4,
    pipers: int = 3,
    cpus: int = 2,
    rounds: int = 1,
    maxpipekva: int = 32 * MiB,
    maxfiles: int = 13_014,
    seed: int = 0,
    costs: CostModel = COSTS["measured"],
    profile: LockProfile | None = None,
    driver: Driver | None = None,
    timeline: Timeline | None = None,
    progress: Callable[[int], None] | None = None,
) -> MailResult:
    """Run the programs of the mail.

    Args:
        state: The kernel's state.
        design: The design that gives pipes their buffers.
        pagers: Programs that touch fresh pages until the others have ended, >= 0.
        pipers: Programs that call pipe() until it fails, and exit, >= 1.
        cpus: CPUs, >= 1.
        rounds: How often each piper is started, >= 1.
        maxpipekva: kern.ipc.maxpipekva in bytes.
        maxfiles: kern.maxfiles.
        seed: The seed that the schedule is drawn from.
        costs: The prices of events, in time.
        profile: Records where locks are taken.
        driver: Chooses the threads; None chooses at random.  It must let every thread run, since pagers do not end alone.
        timeline: Collects what the programs do, in simulated time; None collects nothing.
        progress: Called with the number of pipes created, now and then.

    Raises:
        InvalidRequestError: If a number is out of range.
    """
    for name, value, least in (("pagers", pagers, 0), ("pipers", pipers, 1), ("rounds", rounds, 1)):
        if type(value) is not int or value < least:
            raise InvalidRequestError(name, value, f"must be an int >= {least}")
    kernel = Kernel(
        state,
        design,
        maxpipekva=maxpipekva,
        cpus=cpus,
        maxfiles=maxfiles,
        costs=costs,
        profile=profile,
        timeline=timeline,
    )
    run = _Run(kernel, pipers, rounds, progress)
    for number in range(pagers):
        kernel.machine.spawn(f"pager {number}", run.pager())
    for number in range(pipers):
        kernel.machine.spawn(f"piper {number}", run.piper())
    done = kernel.machine.run(driver or RandomDriver(seed), max_steps=_MOST_STEPS, record=False)
    stats = kernel.space.stats()
    exceeded = [ConsoleEntry(line.time, line.text) for line in kernel.pipes.console.lines]
    exceeded += [ConsoleEntry(line.time, line.text) for line in kernel.files.console.lines]
    return MailResult(
        console=tuple(sorted([*run.reported, *exceeded], key=lambda entry: entry.time)),
        suppressed=kernel.pipes.console.suppressed,
        pipers=tuple(run.ended),
        reversal_at=run.reversal_at,
        peak_kva=kernel.pipes.budget.peak,
        peak_pages=run.peak_pages,
        after={
            "kern.ipc.pipekva": kernel.pipes.budget.kva_used,
            "kern.openfiles": kernel.files.openfiles,
            "mapped": kernel.map.counters().mapped,
            "arenas": stats.arenas,
            "pages": kernel.pages,
        },
        time=kernel.clock.now,
        steps=done.steps,
        found=(*done.findings, *(Finding(FindingKind.BROKEN_INVARIANT, str(v)) for v in kernel.violations())),
    )


class _Run:
    """The state that the programs of a run share."""

    def __init__(self, kernel: Kernel, pipers: int, rounds: int, progress: Callable[[int], None] | None) -> None:
        self.kernel = kernel
        self.left = pipers
        self.rounds = rounds
        self.progress = progress
        self.ended: list[Piper] = []
        self.reported: list[ConsoleEntry] = []
        self.reversal_at: tuple[int, int] | None = None
        self.peak_pages = 0
        self.processes: dict[Lock, Process] = {}
        kernel.witness.on_report = self._note

    def pager(self) -> Call[None]:
        """Touch one page after the other until the pipers have ended."""
        process = self.kernel.fork()
        while self.left:
            yield from Xint0x80_syscall(process.touch())
            self.peak_pages = max(self.peak_pages, self.kernel.pages)
        yield from Xint0x80_syscall(process.exit1())

    def piper(self) -> Call[None]:
        """Call pipe() until it fails and exit, once in each round."""
        for _ in range(self.rounds):
            process = self.kernel.fork()
            self.processes[process.lock] = process
            pipes, number = 0, 0
            while not number:
                try:
                    yield from Xint0x80_syscall(process.pipe())
                    pipes += 1
                    if self.progress is not None and pipes % 64 == 0:
                        self.progress(self.kernel.pipes.counters().pipes_created)
                except PipeError as error:
                    number = error.errno or 0
            sizes = tuple(grown.new for grown in process.fds.growths)
            self.ended.append(Piper(process.pid, pipes, number, sizes))
            yield Preempt()
            yield from Xint0x80_syscall(process.exit1())
        self.left -= 1

    def _note(self, report: OrderReport) -> None:
        """Record a report, its time, and the last growth of the table whose lock was held."""
        self.reported.append(ConsoleEntry(self.kernel.clock.now, str(report)))
        process = self.processes.get(report.locks[-2][0])
        if process is not None and process.fds.growths:
            self.reversal_at = process.fds.growths[-1].old, process.fds.growths[-1].new


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class MailReport(Result):
    """The outcome of the mail's run, for people and programs.

    Args:
        result: The outcome.
        state: The kernel's state.
        fix: The name of the fix; empty for the kernel as it was.
        design: The design that gave pipes their buffers.
        machine: The numbers of pagers, pipers and CPUs, in words.
        seed: The seed that the schedule was drawn from.
        profile: The profile of locks; None if it was not recorded.
        timeline: What the programs did, if that was asked for.
    """

    result: MailResult
    state: KernelState
    fix: str
    design: Design
    machine: str
    seed: int
    profile: LockProfile | None
    timeline: Timeline | None = None

    def parts(self) -> Iterator[str | Table]:
        """Yield the console, the programs, and what was left."""
        result, era = self.result, self.state
        yield f"era {era.name}{f', fix {self.fix}' if self.fix else ''}: {era.title}"
        yield f"design {self.design.name}; {self.machine}, seed {self.seed}\n"
        yield from map(str, result.console)
        if not result.console:
            yield "nothing stands on the console"
        yield ""
        yield Table(
            (
                Column("pid", right=True),
                Column("pipes", right=True),
                Column("ended by"),
                Column("descriptor table grew to"),
            ),
            tuple(
                (str(piper.pid), f"{piper.pipes:,}", piper.error, ", ".join(map(str, piper.fd_sizes)))
                for piper in result.pipers
            ),
        )
        yield ""
        if result.reversal_at is not None:
            old, new = result.reversal_at
            yield f"the reversal was reported as a table grew from {old} to {new} descriptors"
        yield f"lines that were due within a second of the last and not printed: {result.suppressed:,}"
        yield f"at most: pipekva {result.peak_kva:,}, pages of pagers {result.peak_pages:,}"
        yield "after all have exited: " + ", ".join(f"{name} {n:,}" for name, n in result.after.items())
        yield f"{result.time / 1e9:.6f} simulated seconds, {result.steps:,} steps"
        if self.profile is not None:
            yield f"\n{self.profile.text('total')}"

    def as_json(self) -> object:
        """Return the outcome by names."""
        result = self.result
        return {
            "era": self.state.name,
            "fix": self.fix,
            "design": self.design.name,
            "seed": self.seed,
            "console": [{"time_ns": entry.time, "text": entry.text} for entry in result.console],
            "suppressed": result.suppressed,
            "pipers": [
                {"pid": p.pid, "pipes": p.pipes, "error": p.error, "table_sizes": list(p.fd_sizes)}
                for p in result.pipers
            ],
            "reversal_at": result.reversal_at,
            "peak_pipekva": result.peak_kva,
            "peak_pages": result.peak_pages,
            "after": result.after,
            "time_ns": result.time,
            "steps": result.steps,
            "found": [str(finding) for finding in result.found],
            "profile": None if self.profile is None else [attrs.asdict(row) for row in self.profile.rows("total")],
        }

    @property
    def failure(self) -> str:
        """The other findings, in one line."""
        return "; ".join(map(str, self.result.found))


def _run(
    progress: Progress,
    *,
    era: KernelState,
    fix: str,
    design: Design,
    pagers: int,
    pipers: int,
    cpus: int,
    rounds: int,
    limit: int,
    costs: CostModel,
    profile: str,
    perfetto: Path | None,
    seed: int,
) -> MailReport:
    state = era
    if fix:
        if era.name != "2004-01":
            raise InvalidRequestError("--fix", fix, "fixes January 2004; leave --era out")
        state = FIXES[fix]
    table = LockProfile(STYLES[profile]) if profile else None
    timeline = None if perfetto is None else Timeline()
    with progress.task("pipes", None) as advance:
        result = run_mail(
            state,
            design,
            pagers=pagers,
            pipers=pipers,
            cpus=cpus,
            rounds=rounds,
            maxpipekva=limit,
            seed=seed,
            costs=costs,
            profile=table,
            timeline=timeline,
            progress=advance,
        )
    machine = f"{pagers} pagers, {pipers} pipers, {cpus} CPUs"
    return MailReport(result, state, fix, design, machine, seed, table, timeline)


OFFERED: Final = (
    Scenario(
        "mail",
        """Replay the stress run of 31 January 2004: its console, what became of each program, and what was left.

        Exit status 0 if the kernel stayed consistent, 1 if not; a lock order reversal is a warning.
        """,
        _run,
        (
            ERA,
            Option(
                "fix",
                Choice(FIXES, "fix", optional=True),
                "",
                f"January 2004 with the reversal avoided: {', '.join(FIXES)}.",
            ),
            Option("design", DesignName(), "per-pipe", "What gives pipes their buffers."),
            Option("pagers", Int(), 4, "Programs that touch fresh pages for ever."),
            Option("pipers", Int(), 3, "Programs that call pipe() until it fails."),
            CPUS,
            Option("rounds", Int(), 1, "How often each piper is started."),
            LIMIT,
            PRICES,
            Option(
                "profile",
                Choice(STYLES, optional=True),
                "",
                "Also print where locks are taken: lock or mutex (profiling).",
            ),
            TRACE,
            SEED,
        ),
        rank=10,
    ),
)
"""The scenario of this module."""
