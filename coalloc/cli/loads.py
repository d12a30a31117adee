"""The commands that replay loads: ``coalloc compare``, ``coalloc map``, ``coalloc trace``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
    played,
    print_json,
    print_map,
    print_table,
    print_words,
    size_given,
)
from coalloc.cli.jobs import cores, replay_each
from coalloc.cli.programs import (
    MAX_SIZE,
    MOST_OPERATIONS,
    CopiesOption,
    LenientOption,
    MaxOperationsOption,
    MaxSizeOption,
    OutputOption,
    Source,
    SpreadOption,
    UidOption,
    account_of,
    doubts,
    load_program,
    read_program,
)
from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import Bench
from coalloc.report.plots import require_picture, save_comparison
from coalloc.report.ranking import label_of, order, price_moves, price_rows, sentence, unmoved_by
from coalloc.report.tables import (
    Row,
    comparison_rows,
    counted,
    design_figures,
    differing_work,
    timed_figures,
    timed_rows,
    trace_figures,
    trace_words,
)
from coalloc.space.picture import LEGEND
from coalloc.units import parse_size
from coalloc.vm.costs import CostModel
from coalloc.workload.files import write_lines
from coalloc.workload.formats import FORMATS, Account
from coalloc.workload.generators import GENERATORS
from coalloc.workload.program import MOST_CPUS, PipeProgram, Program, SpaceProgram
from coalloc.workload.replay import Outcome, replay
from coalloc.workload.textformat import dumps, save
from coalloc.workload.timed import has_known_locks, replay_in_time

__all__ = ["compare", "draw_map", "trace_app"]

trace_app = typer.Typer(help="Import, describe and generate programs.", rich_markup_mode=None)

_PIECE = 1 << 15


def compare(
    source: Source = None,
    era: EraOption = "2004-01",
    limit: LimitOption = "64M",
    copies: CopiesOption = 1,
    spread: SpreadOption = None,
    designs: Annotated[
        str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}.")
    ] = "per-pipe,coalescing,coalescing+cache",
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a picture: FILE.svg or FILE.png.")] = None,
    prices: Annotated[
        bool, typer.Option("--prices", help="Show how far each price must move before the order of designs changes.")
    ] = False,
    prices_file: CostsOption = "",
    as_json: JsonOption = False,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", help="Also replay in simulated time on so many CPUs: what locks cost; 1 to 4,096."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Replay against so many designs at once; as many as there are cores.")
    ] = None,
    seed: SeedOption = 0,
    uid: UidOption = None,
    lenient: LenientOption = False,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
) -> None:
    """Replay a load against several designs, and show what each costs.

    Ratios are to the first design.  The estimated cost is made from counts and measured prices; it is no measurement.
    Exit status 1 if more than 1 % of a log's calls on pipes could not be placed.
    """
    chosen, policy, size = designs_named("--designs", designs), era_named(era), size_given("--limit", limit)
    if plot is not None:
        require_picture(plot)
    if cpus is not None and not 1 <= cpus <= MOST_CPUS:
        raise InvalidRequestError("--cpus", cpus, f"must be in 1 .. {MOST_CPUS}")
    bar = Bar()
    program, report, wrong = load_program(source, bar, max_size, uid, copies, spread, seed, max_operations)
    if cpus is not None and isinstance(program, SpaceProgram):
        raise InvalidRequestError("--cpus", cpus, "this is a program of buffers, which has no times")
    jobs = cores() if jobs is None else jobs
    names = ", ".join(design.name for design in chosen)
    with bar.task(names, len(program) * len(chosen)) as advance, strangers_print_aside():
        outcomes = replay_each(program, chosen, era=policy, limit=size, jobs=jobs, cpus=cpus or 1, progress=advance)
    costs = costs_given(prices_file)
    timed = []
    if cpus is not None:
        assert isinstance(program, PipeProgram)  # others were refused
        for design in chosen:
            if not has_known_locks(design, policy):
                note(f"{design.name} is not replayed in time: the locks of its kernel are not modelled there")
                continue
            bar.say(f"{design.name} in time on {cpus:,} CPUs")
            with strangers_print_aside():
                timed.append(replay_in_time(program, design, era=policy, limit=size, cpus=cpus, costs=costs))
    trace, differing = trace_figures(program), differing_work(outcomes)
    if differing:
        note(f"the designs did different work, so their costs are not comparable: {differing}")
    if as_json:
        print_json(
            {
                "different_work": differing or None,
                "trace": trace,
                "log": account_of(report),
                "designs": {outcome.design: design_figures(outcome, costs) for outcome in outcomes},
                "era": policy.name,
                "limit": size,
                "copies": copies,
                "seed": seed,
                "costs": {"name": costs.name, "measured_on": costs.measured_on},
                "sentence": sentence(outcomes, costs) or None,
                "price_moves": [move.as_dict() for move in price_moves(outcomes, costs)],
                "in_time": {each.design: timed_figures(each) for each in timed} or None,
            }
        )
        _draw(outcomes, program, policy.name, size, plot)
        if wrong and not lenient:
            raise typer.Exit(1)
        return
    print(f"{program.title or 'untitled program'}")
    print_words(trace_words(trace))
    print_words(f"era {policy.name}: {policy.title}; limit {size:,} bytes")
    for design in chosen:
        if design.state is not None:
            print_words(f"{design.name}: {design.title}")
    if report is not None:
        print_words(f"log: {report}")
    print()
    _print_rows([outcome.design for outcome in outcomes], comparison_rows(program, outcomes, costs))
    if timed:
        print()
        print_words(f"in simulated time on {counted(cpus or 0, 'CPU')}; {_where_cpus_are_from(program)}:")
        print()
        _print_rows([each.design for each in timed], timed_rows(timed))
    if not trace.get("pipes", 1):
        note("there are no pipes in it")
    print()
    print_words(f"estimated with {costs.words}")
    if prices:
        _print_prices(outcomes, costs)
    if said := sentence(outcomes, costs):
        print()
        print_words(said)
    for outcome in outcomes:
        for line in outcome.console[:3]:
            print(f"{outcome.design} at {line.time / 1e9:.6f} s: {line.text}")
        if len(outcome.console) > 3:
            print(f"{outcome.design}: and {len(outcome.console) - 3} more such lines")
    _draw(outcomes, program, policy.name, size, plot)
    if wrong and not lenient:
        raise typer.Exit(1)


def _where_cpus_are_from(program: Program) -> str:
    known = program.cpus if isinstance(program, PipeProgram) else None
    if known is None:
        return "which CPU an operation runs on is drawn from its pipe's number"
    n, most = sum(cpu >= 0 for cpu in known), max(known) + 1
    what = "" if n == len(known) else f" for {n:,} of {len(known):,} operations, and else drawn from the pipe's number"
    return f"CPUs 0 to {most - 1:,} are recorded{what}, and taken modulo their number here"


def _print_rows(designs: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table with a column for each design, and beside it the ratio to the first."""
    table = new_table()
    table.add_column("")
    for number, design in enumerate(designs):
        table.add_column(design, justify="right", no_wrap=True)
        if number:
            table.add_column("ratio", justify="right", style="dim", no_wrap=True)
    for row in rows:
        cells = [row.label, row.values[0]]
        for value, ratio in zip(row.values[1:], row.ratios[1:], strict=True):
            cells += [value, ratio]
        table.add_row(*cells)
    print_table(table)


def _print_prices(outcomes: Sequence[Outcome], costs: CostModel) -> None:
    """Print the prices that the designs do not all pay alike, and how far each must move to change the order."""
    print()
    print_words(f"order by estimated cost: {order(outcomes, costs)}")
    rows = price_rows(price_moves(outcomes, costs))
    if not rows:
        print_words("No price changes the order.")
        return
    table = new_table()
    for title in ("price, in ns", "today", "the order changes below", "ratio", "the order changes above", "ratio"):
        table.add_column(title, justify="left" if title.startswith("price") else "right")
    for row in rows:
        today, *moved = row.values
        cells = [cell for pair in zip(moved, row.ratios[1:], strict=True) for cell in pair]
        table.add_row(row.label, today, *cells)
    print_table(table)
    if held := [label_of(event) for event in unmoved_by(outcomes, costs)]:
        print_words(f"No price of {', '.join(held)} changes the order.")


def _draw(outcomes: Sequence[Outcome], program: Program, era: str, limit: int, plot: Path | None) -> None:
    """Write the picture, after the table: what is known is shown even if the picture cannot be written."""
    if plot is not None:
        sys.stdout.flush()
        save_comparison(outcomes, f"{program.title or 'untitled program'} — era {era}, limit {limit:,} bytes", plot)
        note(f"wrote {plot}")


def draw_map(
    source: Source = None,
    design: Annotated[str, typer.Option("--design", help=f"One of {', '.join(DESIGNS)}.")] = "coalescing",
    era: EraOption = "2004-01",
    limit: LimitOption = "64M",
    copies: CopiesOption = 1,
    spread: SpreadOption = None,
    at: Annotated[
        str, typer.Option("--at", help="When: end, peak (most bytes live), or a number of operations.")
    ] = "peak",
    width: Annotated[int, typer.Option("--width", min=8, max=1000, help="Characters for each arena.")] = 64,
    follow: Annotated[
        bool, typer.Option("--follow", help="Play the program as an animation; frame by frame into a pipe.")
    ] = False,
    frames: Annotated[int, typer.Option("--frames", min=1, max=100_000, help="Frames of --follow.")] = 60,
    seconds: Annotated[float, typer.Option("--seconds", help="How long --follow plays, on a terminal.")] = 6.0,
    seed: SeedOption = 0,
    uid: UidOption = None,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
) -> None:
    """Draw the arenas after a program, or at some moment of it."""
    if not 0 <= seconds < 1e6:
        raise InvalidRequestError("--seconds", seconds, "must be a number of seconds >= 0")
    chosen, policy, size = designs_named("--design", design), era_named(era), size_given("--limit", limit)
    if len(chosen) > 1:
        raise InvalidRequestError("--design", design, "one design is drawn at a time")
    bar = Bar()
    program, _, _ = load_program(source, bar, max_size, uid, copies, spread, seed, max_operations)
    moment = _moment(at, program)
    if follow:
        if at != "peak":
            raise InvalidRequestError("--at", at, "--follow plays the whole program")
        title = f"{program.title or 'untitled program'}\n{chosen[0].name}, era {policy.name}"
        n = len(program)
        wanted = {max(1, round(n * number / frames)) for number in range(1, frames + 1)}
        with played(title, seconds / len(wanted)) as show, strangers_print_aside():

            def look(done: int, live: int, bench: Bench) -> None:
                if done in wanted:
                    show(f"after operation {done:,} of {n:,}: {live:,} bytes live\n{bench.space.render(width)}")

            replay(program, chosen[0], era=policy, limit=size, watch=look)
        return
    if at == "peak":
        most = 0

        def find_peak(done: int, live: int, _bench: Bench) -> None:
            nonlocal most, moment
            if live > most:
                most, moment = live, done

        with bar.task("looking for the peak", len(program)) as advance, strangers_print_aside():
            replay(program, chosen[0], era=policy, limit=size, watch=find_peak, progress=advance)
    picture, live_then = "no arena is mapped", 0

    def take_picture(done: int, live: int, bench: Bench) -> None:
        nonlocal picture, live_then
        if done == moment:
            picture, live_then = bench.space.render(width), live

    with bar.task("replaying", len(program)) as advance, strangers_print_aside():
        replay(program, chosen[0], era=policy, limit=size, watch=take_picture, progress=advance)
    print(f"{program.title or 'untitled program'}")
    print(
        f"{chosen[0].name}, era {policy.name}, after operation {moment:,} of {len(program):,}: {live_then:,} bytes live"
    )
    print_map(picture)
    print_map(LEGEND)
    if not live_then and at == "end":
        print("nothing is live at the end; without --at the fullest moment is shown")


def _moment(at: str, program: Program) -> int:
    if at in ("end", "peak"):
        return len(program)
    if not (at.isascii() and at.isdecimal()) or len(at) > 18 or not 1 <= int(at) <= len(program):
        raise InvalidRequestError("--at", at, f"must be end, peak, or a number in 1 .. {len(program)}")
    return int(at)


@trace_app.command("import")
def trace_import(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="Made by coalloc record, or by strace -f -y -ttt; - for standard input; may be compressed.",
        ),
    ],
    output: OutputOption = None,
    title: Annotated[str, typer.Option("--title", help="Title of the program.")] = "",
    lenient: LenientOption = False,
    max_size: MaxSizeOption = MAX_SIZE,
) -> None:
    """Turn an strace log, or a trace of any other format that is known, into a program.

    Exit status 1 if more than 1 % of a log's calls on pipes could not be placed.
    """
    _require_output(output)
    program, report = read_program(log, Bar(), max_size, argument="LOG", title=title)
    wrong = doubts(report) and not lenient
    _deliver(program, output)
    note(trace_words(trace_figures(program)))
    if report is not None:
        note(str(report))
    if wrong:
        raise typer.Exit(1)


@trace_app.command("export")
def trace_export(
    source: Annotated[Path, typer.Argument(metavar="PROGRAM", help="A space program, or a trace of one.")],
    format_name: Annotated[
        str, typer.Option("--format", help="The format, such as minimalloc, rmm, wee-alloc, mtrace.")
    ],
    output: OutputOption = None,
    max_size: MaxSizeOption = MAX_SIZE,
) -> None:
    """Write a space program in the format of another tool, to standard output or a file."""
    written = {name: known.write for name, known in FORMATS.items() if known.write is not None}
    if format_name not in written:
        raise InvalidRequestError("--format", format_name, f"must be one of {', '.join(written)}")
    _require_output(output)
    program, report = read_program(source, Bar(), max_size)
    doubts(report)
    if not isinstance(program, SpaceProgram):
        raise InvalidRequestError("PROGRAM", str(source), "is a pipe program, and the format has buffers alone")
    lines = written[format_name](program)
    if output is None:
        sys.stdout.writelines(lines)
        return
    write_lines(output, lines)
    note(f"wrote {output}: {len(program):,} operations")


@trace_app.command("info")
def trace_info(
    source: Source = None,
    as_json: JsonOption = False,
    lenient: LenientOption = False,
    problems: Annotated[
        bool, typer.Option("--problems", help="List what was not understood or followed, with line numbers.")
    ] = False,
    max_size: MaxSizeOption = MAX_SIZE,
) -> None:
    """Say what a program or an strace log amounts to.

    Exit status 1 if more than 1 % of a log's calls on pipes could not be placed.
    """
    program, report = read_program(source, Bar(), max_size)
    wrong = doubts(report) and not lenient
    trace = trace_figures(program)
    account = account_of(report)
    listed = report.problems if problems and isinstance(report, Account) else ()
    if as_json:
        if account is not None and problems:
            account["problems"] = [{"line": line, "what": what} for line, what in listed]
        print_json(trace if account is None else trace | {"log": account})
    else:
        print(program.title or "untitled program")
        print(trace_words(trace))
        if report is not None:
            print(f"log: {report}")
        for line, what in listed:
            print(f"line {line}: {what}")
        if problems and not listed:
            print("no problems")
    if wrong:
        raise typer.Exit(1)


@trace_app.command("generate")
def trace_generate(
    name: Annotated[
        str,
        typer.Argument(help="; ".join(f"{name}: {generator.title}" for name, generator in GENERATORS.items())),
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=NUMBER]...", help="Parameters, such as live=100 or size=16K.")
    ] = None,
    output: OutputOption = None,
    seed: SeedOption = 0,
) -> None:
    """Generate a program."""
    if name not in GENERATORS:
        raise InvalidRequestError("NAME", name, f"is no generator; there are {', '.join(GENERATORS)}")
    make = GENERATORS[name].make
    known = {
        parameter.name: parameter.default
        for parameter in inspect.signature(make).parameters.values()
        if type(parameter.default) is int and parameter.name != "seed"
    }
    values: dict[str, int] = {}
    for text in parameters or []:
        key, _, number = text.partition("=")
        if key not in known:
            offered = ", ".join(f"{known_name}={default}" for known_name, default in known.items())
            raise InvalidRequestError("NAME=NUMBER", text, f"{name} takes {offered}")
        try:
            values[key] = 0 if number == "0" else parse_size(number)
        except InvalidRequestError:
            raise InvalidRequestError("NAME=NUMBER", text, "write a number or size, as live=100 or size=16K") from None
    _require_output(output)
    _deliver(make(seed=seed, **values), output)


def _require_output(output: Path | None) -> None:
    """Refuse a name under which nothing can be written, before the work."""
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise InvalidRequestError(
            "--output", str(output), "is a folder" if output.is_dir() else "its folder does not exist"
        )


def _deliver(program: Program, output: Path | None) -> None:
    if output is None:
        text = dumps(program)
        for at in range(0, len(text), _PIECE):  # an unbuffered stdout reports a closed pipe at the next write only
            sys.stdout.write(text[at : at + _PIECE])
        return
    save(program, output)
    note(f"wrote {output}: {len(program):,} operations")
