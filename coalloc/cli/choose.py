"""The commands that help to choose: ``coalloc sweep``, ``coalloc regret``, ``coalloc report``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Final

import attrs
import typer

from coalloc.cli.blame import strangers_print_aside
from coalloc.cli.common import (
    Bar,
    CostsOption,
    EraOption,
    JsonOption,
    LimitOption,
    SeedOption,
    costs_given,
    designs_named,
    era_named,
    new_table,
    note,
    print_json,
    print_table,
    print_words,
    size_given,
)
from coalloc.cli.jobs import ClusterOption, cores, workers
from coalloc.cli.programs import (
    MAX_SIZE,
    MOST_OPERATIONS,
    CopiesOption,
    LenientOption,
    MaxOperationsOption,
    MaxSizeOption,
    Source,
    SpreadOption,
    UidOption,
    doubts,
    load_program,
    microseconds,
    owned,
    read_program,
    require_copies,
)
from coalloc.designs import DESIGNS
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.bounds import SOLVERS
from coalloc.experiments.film import film
from coalloc.experiments.journal import Journal
from coalloc.experiments.pareto import OBJECTIVES, Choice, Preference, choose, front, objective_named, parse_preference
from coalloc.experiments.regrets import Regret, robson_bound
from coalloc.experiments.regrets import regret as find_regret
from coalloc.experiments.settings import Grid, design_of, read_vary
from coalloc.experiments.sweeps import Failure, Load, Sweep, SweepRow, faults_of, key_of
from coalloc.experiments.sweeps import sweep as run_sweep
from coalloc.pipes.states import STATES
from coalloc.report.page import Making, require_page, save_page, save_sweep_page
from coalloc.report.plots import require_picture
from coalloc.report.sweep_plot import save_front
from coalloc.report.sweeps import failure_lines, front_words, sweep_table, titles_of
from coalloc.report.tables import counted, differing_work
from coalloc.workload.figures import LABELS
from coalloc.workload.program import Program

__all__ = ["regret", "report", "sweep"]


VaryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--vary", metavar="NAME=VALUE,...", help="A parameter of the designs and its values; may be repeated."
    ),
]


def _words(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise InvalidRequestError(option, text, "must be values separated by commas")
    return words


def _numbers(option: str, text: str) -> list[int]:
    numbers = []
    for word in _words(option, text):
        if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word)):
            raise InvalidRequestError(option, text, "must be whole numbers >= 1, separated by commas")
        numbers.append(int(word))
    return numbers


def _columns(text: str) -> list[str]:
    """Return the figures that ``--columns`` names."""
    if text == "all":
        return list(LABELS)
    return [objective_named(name) for name in _words("--columns", text)] if text else []


def sweep(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PROGRAM|LOG]...", help="Programs, or logs; the bundled build if none is given."),
    ] = None,
    vary: VaryOption = None,
    designs: Annotated[
        str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}, and file.py:name.")
    ] = "per-pipe,coalescing",
    era: Annotated[str, typer.Option("--era", help=f"Comma-separated: {', '.join(STATES)}.")] = "2004-01",
    limit: Annotated[str, typer.Option("--limit", help="maxpipekva, comma-separated, such as 16M,64M.")] = "64M",
    copies: Annotated[str, typer.Option("--copies", help="Copies at once, comma-separated, such as 1,8,40.")] = "1",
    seeds: Annotated[
        int, typer.Option("--seeds", help="Draw the beginnings of copies with so many seeds: 0, 1, ...")
    ] = 1,
    spread: SpreadOption = None,
    objectives: Annotated[
        str, typer.Option("--objectives", help="The figures of the Pareto front, comma-separated; less is better.")
    ] = ",".join(OBJECTIVES),
    prefer: Annotated[
        str | None,
        typer.Option("--prefer", help='Pick a setting, and say what it gives up; such as "resident<=2x,map_ops".'),
    ] = None,
    columns: Annotated[
        str, typer.Option("--columns", help="Show these figures, too; all for every figure. Files have all.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write all rows: FILE.csv, FILE.jsonl or FILE.parquet.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep that was interrupted while it wrote FILE.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the Pareto front: FILE.svg or FILE.png.")] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="Write a page that opens without a network: FILE.html.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", help="Processes; as many as there are cores.")] = None,
    address: ClusterOption = "",
    prices: CostsOption = "",
    uid: UidOption = None,
    lenient: LenientOption = False,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
    as_json: JsonOption = False,
) -> None:
    """Replay loads against every combination of settings: a row for each, with the Pareto front marked.

    Exit status 1 if no setting could be run, or more than 1 % of a log's calls on pipes could not be placed.
    """
    targets = _words("--designs", designs)
    grid = Grid(
        targets,
        read_vary(vary or []),
        eras=_words("--era", era),
        limits=[size_given("--limit", word) for word in _words("--limit", limit)],
        copies=_numbers("--copies", copies),
        seeds=seeds,
        spread=microseconds(spread),
    )
    wanted = [objective_named(name) for name in _words("--objectives", objectives)]
    extra = _columns(columns)
    preference = None if prefer is None else parse_preference(prefer)
    if seeds > 1 and max(grid.copies) == 1:
        raise InvalidRequestError("--seeds", seeds, "only the beginnings of copies are drawn; see --copies")
    if resume and output is None:
        raise InvalidRequestError("--resume", "", "needs the --output of the sweep that was interrupted")
    if jobs is not None and not 1 <= jobs <= 1024:
        raise InvalidRequestError("--jobs", jobs, "must be in 1 .. 1024")
    if plot is not None:
        require_picture(plot)
    if page is not None:
        require_page(page)
    costs = costs_given(prices)
    journal = None if output is None else Journal(output, costs, resume=resume)
    bar = Bar()
    programs, wrong = _programs(sources or [None], bar, max_size, uid, grid, max_operations)
    if journal is not None:
        digests = [Load.of(program).digest for program in programs]
        journal.require_all({key_of(digest, setting) for digest in digests for setting in grid})
    rows: list[SweepRow] = []

    def keep(row: SweepRow) -> None:
        if journal is not None:
            journal.add(row)
        rows.append(row)

    done = {} if journal is None else journal.done
    try:
        with (
            bar.task("settings", None) as advance,
            workers(jobs or cores(), address) as executor,
            strangers_print_aside(),
        ):
            result = run_sweep(
                grid,
                programs,
                executor=executor,
                costs=costs,
                done=done,
                each=keep,
                progress=advance,
            )
    except (KeyboardInterrupt, CoallocError, OSError):
        if journal is not None:
            journal.close()
            if rows or done:
                note(f"{counted(len(done) + len(rows), 'row')} kept in {journal.part}; go on with --resume")
        raise
    if journal is not None:
        journal.finish(result)
        note(f"wrote {output}: {counted(len(result.rows), 'row')}")
    elif not as_json and len(result.rows) > _MANY:
        note("-o FILE.csv would keep these rows")
    on_front = front(result.rows, wanted)
    choice, failed = _chosen(result, preference, wanted)
    if page is not None and result.rows:
        said = failed if choice is None else choice.sentence
        command = f"coalloc {' '.join(sys.argv[1:])}"
        save_sweep_page(result, on_front, wanted, said, command, page)
        note(f"wrote {page}")
    _show(result, on_front, wanted, extra, choice, failed, as_json=as_json)
    if plot is not None and result.rows:
        sys.stdout.flush()
        save_front(result, on_front, wanted, plot)
        note(f"wrote {plot}")
    if not result.rows:
        raise CoallocError("no setting could be run")
    if wrong and not lenient:
        raise typer.Exit(1)


_MANY: Final = 200
"""From so many rows on a hint says how to keep them."""


def _programs(
    sources: Sequence[Path | None], bar: Bar, max_size: str, uid: int | None, grid: Grid, most: int
) -> tuple[list[Program], bool]:
    """Read the programs, and tell whether more than 1 % of the calls in any log could not be placed."""
    programs, wrong = [], False
    for source in sources:
        program, report = read_program(source, bar, max_size)
        wrong = doubts(report) or wrong
        require_copies(program, max(grid.copies), most)
        programs.append(owned(program, uid))
    return programs, wrong


def _chosen(result: Sweep, preference: Preference | None, objectives: list[str]) -> tuple[Choice | None, str]:
    """Return the choice, or why there is none; neither where none was asked for."""
    if preference is None or not result.rows:
        return None, ""
    try:
        return choose(result, preference, objectives), ""
    except CoallocError as error:
        return None, str(error)


def _show(
    result: Sweep,
    on_front: Collection[SweepRow],
    objectives: list[str],
    columns: list[str],
    choice: Choice | None,
    failed: str,
    *,
    as_json: bool,
) -> None:
    """Print the rows, what could not be run, and the choice."""
    if as_json:
        print_json(
            {
                "rows": [row.columns() | {"on_front": row in on_front} for row in result.rows],
                "failures": [failure.as_dict() for failure in result.failures],
                "objectives": objectives,
                "choice": None if choice is None else choice.setting.as_dict() | {"sentence": choice.sentence},
                "no_choice": failed or None,
                "costs": {"name": result.costs.name, "measured_on": result.costs.measured_on},
            }
        )
    else:
        _print_rows(result, on_front, objectives, columns)
        if choice is not None:
            print()
            print_words(choice.sentence)
    if failed:
        sys.stdout.flush()
        raise CoallocError(failed)


def _print_rows(result: Sweep, on_front: Collection[SweepRow], objectives: list[str], columns: list[str]) -> None:
    for title in titles_of([*result.rows, *result.failures]).values():
        print_words(title)
    print_words(f"estimated with {result.costs.words}")
    heads, rows = sweep_table(result, on_front, [*objectives, *columns])
    table = new_table()
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 1 else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    if rows:
        print()
        print_table(table)
        print()
        print_words(front_words(on_front, result.rows, objectives))
    lines = failure_lines(result.failures)
    if lines:
        print()
    for line in lines:
        print_words(line)


def regret(
    source: Source = None,
    designs: Annotated[
        str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}, and file.py:name.")
    ] = "per-pipe,coalescing,first-fit,buddy,vmem",
    vary: VaryOption = None,
    era: EraOption = "2004-01",
    limit: LimitOption = "64M",
    copies: CopiesOption = 1,
    spread: SpreadOption = None,
    seconds: Annotated[float, typer.Option("--seconds", help="The most seconds for each solver.")] = 10.0,
    solvers: Annotated[
        str,
        typer.Option(
            "--solvers", help=f"Comma-separated: {', '.join(SOLVERS)}; those that are installed if none is given."
        ),
    ] = "",
    seed: SeedOption = 0,
    uid: UidOption = None,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
    as_json: JsonOption = False,
) -> None:
    """Hold what designs map, and the addresses they use, against the least for buffers whose lifetimes are known.

    The least lies between two bounds: the most bytes that live at once, or what a solver proves, and the best placement found.
    """
    grid = Grid(_words("--designs", designs), read_vary(vary or []))
    policy, size = era_named(era), size_given("--limit", limit)
    settings = [attrs.evolve(setting, era=policy.name, limit=size) for setting in grid]
    bar = Bar()
    program, _, _ = load_program(source, bar, max_size, uid, copies, spread, seed, max_operations)
    names = _words("--solvers", solvers) if solvers else None
    with strangers_print_aside():
        faults = faults_of(settings)
        chosen = [design_of(setting) for setting, fault in zip(settings, faults, strict=True) if not fault]
        found = find_regret(program, chosen, era=policy, limit=size, seconds=seconds, solvers=names, progress=bar.say)
    digest = Load.of(program).digest
    failures = [
        Failure(program.title, digest, setting, fault) for setting, fault in zip(settings, faults, strict=True) if fault
    ]
    differing = differing_work([each.outcome for each in found])
    if differing:
        note(f"the designs did different work: {differing}")
    if as_json:
        print_json(
            {
                "program": program.title,
                "era": policy.name,
                "limit": size,
                "seconds": seconds,
                "different_work": differing or None,
                "designs": [each.as_dict() for each in found],
                "failures": [failure.as_dict() for failure in failures],
            }
        )
    else:
        print_words(program.title or "untitled program")
        print_words(f"era {policy.name}: {policy.title}; limit {size:,} bytes")
        if found:
            _print_bounds(found)
            _print_regrets(found)
        if failures:
            print()
        for line in failure_lines(failures):
            print_words(line)
    if not found:
        raise CoallocError("no setting could be run")


_NAME: Final = 26
"""Characters of a line of a design's name, so that a table fits 80 columns."""


def _print_regrets(found: Sequence[Regret]) -> None:
    table = new_table()
    for head in ("design", "peak mapped\nbytes", "to most\nlive", "addresses\nused", "to most\nlive", "to the\nleast"):
        table.add_column(head, justify="left" if head == "design" else "right", no_wrap=head != "design")
    for each in found:
        mapped, best = each.outcome.map.peak_mapped, each.best
        ratios = ["-"] * 3
        if best is not None:
            ratios = [
                f"{a / b:,.2f}"
                for a, b in ((mapped, best.most_live), (each.span, best.most_live), (each.span, best.upper))
            ]
        name = textwrap.fill(each.outcome.design, _NAME, break_long_words=False, break_on_hyphens=False)
        table.add_row(name, f"{mapped:,}", ratios[0], f"{each.span:,}", ratios[1], ratios[2])
    print()
    print_table(table)


def _print_bounds(found: Sequence[Regret]) -> None:
    """Print the bounds once for all designs that were asked for the same buffers."""
    shown: dict[object, list[Regret]] = {}
    for each in found:
        best = each.best
        what = None if best is None else (best.most_live, best.lower, best.upper, each.lives, each.sizes)
        shown.setdefault(what, []).append(each)
    for each in found:
        if each.refused:
            print_words(
                f"{each.outcome.design} refused {counted(each.refused, 'request')}, which are not held against it"
            )
    for alike in shown.values():
        best = alike[0].best
        whose = "" if len(shown) == 1 else f"{', '.join(each.outcome.design for each in alike)}: "
        if best is None:
            print_words(f"{whose}no buffer was handed out")
            continue
        proof = "proven: no placement needs less"
        if not best.is_proven:
            proof = f"not proven: at least {best.lower:,} are needed"
        said = f", as {best.lower_by} says" if best.lower_by else ""
        print_words(f"{whose}{alike[0].lives:,} buffers, at most {best.most_live:,} bytes live")
        print_words(f"least address space found: {best.upper:,} bytes, by {best.by}; {proof}{said}")
        for tried in best.tries:
            got = tried.note or f"{tried.height:,} bytes"
            print_words(f"  {tried.solver}: {got}")
        worst = robson_bound(best.most_live, alike[0].sizes)
        if worst is not None and worst > best.most_live:
            print_words(
                f"first fit at worst, for any load of such sizes (Robson): {worst:,} bytes, "
                f"{worst / best.most_live:.2f} times the most live"
            )


def report(
    source: Source = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it: FILE.html.")] = Path("report.html"),
    designs: Annotated[
        str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}, and file.py:name.")
    ] = "per-pipe,coalescing,coalescing+cache",
    era: EraOption = "2004-01",
    limit: LimitOption = "64M",
    copies: CopiesOption = 1,
    spread: SpreadOption = None,
    frames: Annotated[int, typer.Option("--frames", help="Frames of the film, beside the fullest moment.")] = 60,
    prices: CostsOption = "",
    seed: SeedOption = 0,
    uid: UidOption = None,
    lenient: LenientOption = False,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
) -> None:
    """Write a comparison as one HTML file that opens without a network, with a film of the arenas of each design.

    Exit status 1 if more than 1 % of a log's calls on pipes could not be placed.
    """
    chosen, policy, size = designs_named("--designs", designs), era_named(era), size_given("--limit", limit)
    if not 1 <= frames <= 1000:
        raise InvalidRequestError("--frames", frames, "must be in 1 .. 1000")
    costs = costs_given(prices)
    require_page(output)
    bar = Bar()
    program, _, wrong = load_program(source, bar, max_size, uid, copies, spread, seed, max_operations)
    films = []
    for design in chosen:
        with bar.task(design.name, 2 * len(program)) as advance, strangers_print_aside():
            films.append(film(program, design, era=policy, limit=size, frames=frames, progress=advance))
    making = Making(
        command=f"coalloc {' '.join(sys.argv[1:])}",
        program=program,
        digest=Load.of(program).digest,
        era=f"{policy.name}: {policy.title}",
        limit=size,
        seed=seed,
        copies=copies,
    )
    save_page(films, costs, making, output)
    note(f"wrote {output}")
    if wrong and not lenient:
        raise typer.Exit(1)
