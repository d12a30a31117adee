"""The commands ``coalloc scenario ...``: runs over the whole kernel around the pipe."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from coalloc.cli.common import (
    Bar,
    EraOption,
    JsonOption,
    LimitOption,
    SeedOption,
    designs_named,
    era_named,
    new_table,
    note,
    print_json,
    print_table,
    size_given,
)
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.kernel.config import CONFIGS, FIXES
from coalloc.kernel.scenarios import (
    DRIVERS,
    FLAT,
    TEARDOWN_DESIGNS,
    TESTS,
    WINDOWS,
    Curve,
    MailResult,
    PipeTest,
    PipeTestResult,
    Teardown,
    Window,
    descriptor_curves,
    look,
    pipe_curves,
    run_creation,
    run_mail,
    run_teardown,
    run_test,
)
from coalloc.pipes.designs import DESIGNS, Design
from coalloc.pipes.eras import ERAS, Era
from coalloc.report.plots import require_format, save_curves
from coalloc.sched import Schedule, SearchResult
from coalloc.sched.lockprof import LOCK_PROFILING, MUTEX_PROFILING, LockProfile, ProfileStyle
from coalloc.vm.costs import COSTS

__all__ = ["scenario_app"]

scenario_app = typer.Typer(
    help="Run the kernel around the pipe: the mail's stress run, FreeBSD's pipe tests, scalability, teardown, windows.",
    rich_markup_mode=None,
)

_MANY = 50_000
"""So many pipes are torn down in processes of their own."""
_STYLES = {"lock": LOCK_PROFILING, "mutex": MUTEX_PROFILING}

DesignOption = Annotated[str, typer.Option("--design", help="What gives pipes their buffers.")]
DesignsOption = Annotated[str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}.")]
CpusOption = Annotated[int, typer.Option("--cpus", help="CPUs of the simulated machine.")]
ErasOption = Annotated[str, typer.Option("--era", help=f"Comma-separated, or all; there are {', '.join(ERAS)}.")]


def _eras(names: str) -> tuple[Era, ...]:
    return tuple(ERAS.values()) if names == "all" else tuple(era_named(name.strip()) for name in names.split(","))


def _freebsd(option: str, names: str) -> tuple[Design, ...]:
    """Return the designs that an option names; those with another kernel's policy cannot stand in for FreeBSD's."""
    chosen = designs_named(option, names)
    for design in chosen:
        if design.kernel is not None:
            offered = ", ".join(name for name, other in DESIGNS.items() if other.kernel is None)
            raise InvalidRequestError(option, design.name, f"is another kernel's; there are {offered}")
    return chosen


# --- mail --------------------------------------------------------------------------------------------------


@scenario_app.command()
def mail(
    era: EraOption = "2004-01",
    fix: Annotated[
        str, typer.Option("--fix", help=f"January 2004 with the reversal avoided: {', '.join(FIXES)}.")
    ] = "",
    design: DesignOption = "per-pipe",
    pagers: Annotated[int, typer.Option("--pagers", help="Programs that touch fresh pages for ever.")] = 4,
    pipers: Annotated[int, typer.Option("--pipers", help="Programs that call pipe() until it fails.")] = 3,
    cpus: CpusOption = 2,
    rounds: Annotated[int, typer.Option("--rounds", help="How often each piper is started.")] = 1,
    limit: LimitOption = "32M",
    profile: Annotated[
        str, typer.Option("--profile", help="Also print where locks are taken: lock or mutex (profiling).")
    ] = "",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Replay the stress run of 31 January 2004: its console, what became of each program, and what was left.

    Exit status 0 if the kernel stayed consistent, 1 if not; a lock order reversal is a warning.
    """
    config = CONFIGS[era_named(era).name]
    if fix:
        if fix not in FIXES:
            raise InvalidRequestError("--fix", fix, f"is no fix; there are {', '.join(FIXES)}")
        if era != "2004-01":
            raise InvalidRequestError("--fix", fix, "fixes January 2004; leave --era out")
        config = FIXES[fix]
    chosen = _freebsd("--design", design)
    if len(chosen) > 1:
        raise InvalidRequestError("--design", design, "one design runs at a time")
    table = LockProfile(_style("--profile", profile)) if profile else None
    with Bar().task("pipes", None) as advance:
        result = run_mail(
            config,
            chosen[0],
            pagers=pagers,
            pipers=pipers,
            cpus=cpus,
            rounds=rounds,
            maxpipekva=size_given("--limit", limit),
            seed=seed,
            profile=table,
            progress=advance,
        )
    if as_json:
        print_json(_mail_dict(result, table, era=config.name, fix=fix, design=chosen[0].name, seed=seed))
    else:
        print(f"era {config.era.name}{f', fix {fix}' if fix else ''}: {config.era.title}")
        print(f"design {chosen[0].name}; {pagers} pagers, {pipers} pipers, {cpus} CPUs, seed {seed}\n")
        _print_mail(result)
        if table is not None:
            print(f"\n{table.text('total')}")
    if result.found:
        raise CoallocError("; ".join(map(str, result.found)))


def _style(option: str, name: str) -> ProfileStyle:
    if name not in _STYLES:
        raise InvalidRequestError(option, name, f"must be {' or '.join(_STYLES)}")
    return _STYLES[name]


def _print_mail(result: MailResult) -> None:
    for entry in result.console:
        print(entry)
    if not result.console:
        print("nothing stands on the console")
    print()
    table = new_table()
    for name in ("pid", "pipes", "ended by", "descriptor table grew to"):
        table.add_column(name, justify="right" if name in ("pid", "pipes") else "left")
    for piper in result.pipers:
        table.add_row(str(piper.pid), f"{piper.pipes:,}", piper.error, ", ".join(map(str, piper.fd_sizes)))
    print_table(table)
    print()
    if result.reversal_at is not None:
        old, new = result.reversal_at
        print(f"the reversal was reported as a table grew from {old} to {new} descriptors")
    print(f"lines that were due within a second of the last and not printed: {result.suppressed:,}")
    print(f"at most: pipekva {result.peak_kva:,}, pages of pagers {result.peak_pages:,}")
    print("after all have exited: " + ", ".join(f"{name} {n:,}" for name, n in result.after.items()))
    print(f"{result.time / 1e9:.6f} simulated seconds, {result.steps:,} steps")


def _mail_dict(result: MailResult, profile: LockProfile | None, **run: object) -> dict[str, Any]:
    return {
        **run,
        "console": [{"time_ns": entry.time, "text": entry.text} for entry in result.console],
        "suppressed": result.suppressed,
        "pipers": [
            {"pid": p.pid, "pipes": p.pipes, "error": p.error, "table_sizes": list(p.fd_sizes)} for p in result.pipers
        ],
        "reversal_at": result.reversal_at,
        "peak_pipekva": result.peak_kva,
        "peak_pages": result.peak_pages,
        "after": result.after,
        "time_ns": result.time,
        "steps": result.steps,
        "found": [str(finding) for finding in result.found],
        "profile": None if profile is None else [attrs.asdict(row) for row in profile.rows("total")],
    }


# --- FreeBSD's pipe tests ----------------------------------------------------------------------------------


def _command_of(test: PipeTest) -> Callable[..., None]:
    repeated = f"{test.times:,} times" if test.times else "once"

    def command(
        era: ErasOption = "all",
        designs: DesignsOption = "per-pipe,coalescing",
        times: Annotated[
            int, typer.Option("--times", help="How often the test does what it repeats; 0: as FreeBSD has it.")
        ] = 0,
        as_json: JsonOption = False,
    ) -> None:
        if times < 0 or (times and not test.times):
            why = "must be at least 1, or 0" if test.times else "this test repeats nothing"
            raise InvalidRequestError("--times", times, why)
        runs = [(CONFIGS[chosen.name], design) for chosen in _eras(era) for design in _freebsd("--designs", designs)]
        results: list[PipeTestResult] = []
        with Bar().task(test.name, len(runs)) as advance:
            for config, design in runs:
                results.append(run_test(test, config, design, times=times or None))
                if advance is not None:
                    advance(len(results))
        if as_json:
            print_json([attrs.asdict(r) | {"passed": r.passed, "expected": r.expected} for r in results])
        else:
            _print_test(test, results)
        odd = [f"{r.era} {r.design}" for r in results if not r.expected]
        if odd:
            raise CoallocError(f"not as is known of the era: {', '.join(odd)}")

    command.__doc__ = f"""{test.title} ({repeated}).

    Exit status 0 if each era does what is known of it, 1 if one does not.
    """
    return command


def _print_test(test: PipeTest, results: list[PipeTestResult]) -> None:
    print(f"{test.name}: {test.title}\n")
    table = new_table()
    for name in ("era", "design", "", "what happened"):
        table.add_column(name, no_wrap=name != "what happened")
    for result in results:
        table.add_row(result.era, result.design, "pass" if result.passed else "fail", result.reason)
    print_table(table)
    for era, why in {result.era: result.known for result in results if result.known}.items():
        print(f"\n{era} is known to fail: {why}")


for _test in TESTS.values():
    scenario_app.command(_test.name)(_command_of(_test))


# --- scalability -------------------------------------------------------------------------------------------


@scenario_app.command()
def scalability(
    count: Annotated[int, typer.Option("--count", help="Pipes, and descriptors, to make.")] = 8192,
    era: ErasOption = "all",
    designs: DesignsOption = "per-pipe,coalescing",
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a picture: FILE.svg or FILE.png.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the work of the i-th pipe and the i-th descriptor: which curves are flat."""
    chosen, eras = designs_named("--designs", designs), _eras(era)
    if plot is not None:
        require_format(plot)
    curves: list[Curve] = []
    loads = 2 * sum(len(eras) if design.kernel is None else 1 for design in chosen)
    with Bar().task("curves", loads) as advance:
        for curve in pipe_curves(count, eras=eras, designs=chosen):
            curves.append(curve)
            if advance is not None:
                advance(len(curves))
    curves += descriptor_curves(count)
    if plot is not None:
        save_curves(curves, plot)
    if as_json:
        print_json([_curve_dict(curve) for curve in curves])
    else:
        _print_curves(curves, count)
    if plot is not None:
        note(f"wrote {plot}")


def _curve_dict(curve: Curve) -> dict[str, Any]:
    return {
        "what": curve.what,
        "name": curve.name,
        "era": curve.era,
        "load": curve.load,
        "means": {str(first): mean for first, mean in curve.means},
        "exponent": curve.exponent,
        "flat": curve.flat,
    }


def _print_curves(curves: list[Curve], count: int) -> None:
    print(f"counted work of the i-th pipe and the i-th descriptor, i up to {count:,}; flat: exponent below {FLAT}\n")
    table = new_table()
    for name in ("", "design or layout", "era", "load"):
        table.add_column(name, no_wrap=True)
    firsts = [first for first, _ in curves[0].means]
    for name in (f"mean from {firsts[0]}", f"mean from {firsts[-1]}", "largest", "exponent"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for curve in curves:
        table.add_row(
            curve.what,
            curve.name,
            curve.era,
            curve.load,
            f"{curve.means[0][1]:,.1f}",
            f"{curve.means[-1][1]:,.1f}",
            f"{max(curve.work):,}",
            f"{max(curve.exponent, 0.0):.2f}",
            "flat" if curve.flat else "grows",
        )
    print_table(table)


# --- teardown ----------------------------------------------------------------------------------------------


@scenario_app.command()
def teardown(
    pipes: Annotated[int, typer.Option("--pipes", help="Pipes to make and close.")] = 900_000,
    era: EraOption = "2004-01",
    designs: DesignsOption = TEARDOWN_DESIGNS,
    cpus: CpusOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Close very many pipes at once: map operations, shoot-downs and interrupts, by design."""
    chosen, policy = designs_named("--designs", designs), era_named(era)
    results = _teardowns(pipes, chosen, policy, cpus)
    figures = [_teardown_figures(result) for result in results]
    if as_json:
        print_json({result.design: row | {"era": result.era} for result, row in zip(results, figures, strict=True)})
        return
    print(f"{pipes:,} pipes, a byte written to each, closed in order; {cpus} CPUs")
    for result, design in zip(results, chosen, strict=True):
        print(f"{design.name}: {design.title}" if design.kernel else f"{design.name}: era {result.era}")
    print()
    table = new_table()
    table.add_column("of the close")
    for result in results:
        table.add_column(result.design, justify="right", no_wrap=True)
    for name in figures[0]:
        cells = [row[name] for row in figures]
        table.add_row(name, *(f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}" for cell in cells))
    print_table(table)
    print(f"\nestimated with prices measured on {COSTS['measured'].measured_on}")


def _teardowns(pipes: int, designs: tuple[Design, ...], era: Era, cpus: int) -> list[Teardown]:
    """Run each design; where that takes long, two at a time, in processes of their own."""
    bar = Bar()
    results: list[Teardown] = []
    if pipes < _MANY:
        for design in designs:
            with bar.task(f"closing, {design.name}", pipes) as advance:
                results.append(run_teardown(pipes, design, era=era, cpus=cpus, progress=advance))
        return results
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=gc.disable) as pool, bar.task("designs", len(designs)) as advance:
        longest_first = sorted(designs, key=lambda design: (not design.one_by_one, design.kernel is None))
        jobs = {design.name: pool.submit(_teardown_job, design.name, pipes, era.name, cpus) for design in longest_first}
        for design in designs:
            results.append(jobs[design.name].result())
            if advance is not None:
                advance(len(results))
    return results


def _teardown_job(design: str, pipes: int, era: str, cpus: int) -> Teardown:
    """Run one design in a process of its own, which keeps all that it makes: the collector would look in vain."""
    return run_teardown(pipes, DESIGNS[design], era=ERAS[era], cpus=cpus)


def _teardown_figures(result: Teardown) -> dict[str, int | float]:
    return {
        "map operations": result.closed.map_ops,
        "unmap operations": result.closed.unmap_ops,
        "map lock acquisitions": result.closed.lock_acquisitions,
        "TLB shoot-downs": result.closed.tlb_shootdowns,
        "inter-processor interrupts": result.closed.ipis,
        "pages freed": result.closed.pages_freed,
        "bytes still mapped": result.kept,
        "estimated seconds": result.estimate_ns / 1e9,
    }


# --- locks -------------------------------------------------------------------------------------------------


@scenario_app.command()
def locks(
    era: EraOption = "2004-01",
    designs: DesignsOption = "per-pipe,coalescing",
    pipes: Annotated[int, typer.Option("--pipes", help="Pipes that each process makes and closes.")] = 1000,
    processes: Annotated[int, typer.Option("--processes", help="Processes that do so at once.")] = 2,
    cpus: CpusOption = 2,
    style: Annotated[str, typer.Option("--style", help="Whose table: lock (7.0 and later) or mutex.")] = "lock",
    sort: Annotated[str, typer.Option("--sort", help="A column of the table; the largest comes first.")] = "total",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Profile the locks of creating and closing pipes, as LOCK_PROFILING and MUTEX_PROFILING do."""
    chosen, config, kind = _freebsd("--designs", designs), CONFIGS[era_named(era).name], _style("--style", style)
    LockProfile(kind).rows(sort)  # is there such a column?
    done = [
        run_creation(config, design, pipes=pipes, processes=processes, cpus=cpus, style=kind, seed=seed)
        for design in chosen
    ]
    if as_json:
        print_json(
            {
                creation.design: {
                    "rows": [attrs.asdict(row) for row in creation.profile.rows(sort)],
                    "sysctl": creation.profile.sysctl(),
                    "allocations": attrs.asdict(creation.allocations),
                    "time_ns": creation.time,
                }
                for creation in done
            }
        )
        return
    print(f"era {config.name}; {processes} processes make and close {pipes:,} pipes each on {cpus} CPUs; times in us\n")
    for creation in done:
        per = {name: n / creation.pipes for name, n in attrs.asdict(creation.allocations).items()}
        print(f"{creation.design}: {creation.time / 1e6:.3f} simulated ms")
        print("for each pipe: " + ", ".join(f"{name} {n:.3g}" for name, n in per.items()))
        print(f"{creation.profile.text(sort)}\n")
    print(f"simulated with prices measured on {COSTS['measured'].measured_on}")


# --- windows -----------------------------------------------------------------------------------------------


@scenario_app.command()
def windows(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help=f"Which; there are {', '.join(WINDOWS)}.")
    ] = None,
    driver: Annotated[str, typer.Option("--driver", help=f"Who chooses the schedules: {', '.join(DRIVERS)}.")] = (
        "exhaustive"
    ),
    preemptions: Annotated[int, typer.Option("--preemptions", help="Most preemptions in a schedule.")] = 2,
    most: Annotated[int, typer.Option("--most", help="Most schedules to run of each.")] = 10_000,
    schedule: Annotated[
        str, typer.Option("--schedule", help='Run this schedule of one window only, such as "2>1".')
    ] = "",
    fixed: Annotated[bool, typer.Option("--fixed", help="With --schedule: run the right version.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Look at every schedule of small configurations: windows that real kernels had, and the versions that are right.

    Exit status 0 if each bug is found and each right version passes, 1 if not.  With --schedule: 1 if something is found.
    """
    chosen = [_window(name) for name in names or WINDOWS]
    if schedule:
        if len(chosen) != 1:
            raise InvalidRequestError("--schedule", schedule, "name the one window that it is for")
        _replay(chosen[0], schedule, fixed=fixed, as_json=as_json)
        return
    rows: list[tuple[Window, bool, SearchResult]] = []
    bar = Bar()
    for window in chosen:
        for right in (False, True) if window.finds else (True,):
            bar.say(f"{window.name}, {'right' if right else 'wrong'}")
            found = look(window, right=right, driver=driver, preemptions=preemptions, most=most, seed=seed)
            rows.append((window, right, found))
    if as_json:
        print_json([_window_dict(*row) for row in rows])
    else:
        _print_windows(rows)
    missed = [
        f"{window.name} ({'right' if right else 'wrong'})"
        for window, right, found in rows
        if (found.finding is None) is not right
    ]
    if missed:
        raise CoallocError(f"not as it should be: {', '.join(missed)}")


def _window(name: str) -> Window:
    if name not in WINDOWS:
        raise InvalidRequestError("NAME", name, f"is no window; there are {', '.join(WINDOWS)}")
    return WINDOWS[name]


def _replay(window: Window, text: str, *, fixed: bool, as_json: bool) -> None:
    run = window.make(fixed or not window.finds).run(Schedule.parse(text))
    if as_json:
        print_json({"window": window.name, "schedule": text, "findings": [str(f) for f in run.findings]})
    else:
        print("\n".join(str(finding) for finding in run.findings) or f"nothing is found in {run.steps} steps")
    if run.findings:
        raise typer.Exit(1)


def _window_dict(window: Window, right: bool, found: SearchResult) -> dict[str, Any]:
    return {
        "window": window.name,
        "mutant": window.mutant,
        "version": "right" if right else "wrong",
        "schedules": found.schedules,
        "complete": found.complete,
        "finding": None if found.finding is None else str(found.finding),
        "schedule": None if found.run is None else str(found.run.schedule),
    }


def _print_windows(rows: list[tuple[Window, bool, SearchResult]]) -> None:
    table = new_table()
    for name in ("window", "", "version"):
        table.add_column(name, no_wrap=True)
    table.add_column("schedules", justify="right", no_wrap=True)
    table.add_column("schedule that shows it", no_wrap=True)
    table.add_column("found")
    for window, right, found in rows:
        table.add_row(
            window.name,
            window.mutant,
            "right" if right else "wrong",
            f"{found.schedules:,}",
            "" if found.run is None else str(found.run.schedule),
            f"none, in {'all' if found.complete else 'so many'}" if found.finding is None else str(found.finding),
        )
    print_table(table)
