"""The commands that measure this machine: ``coalloc costs``, ``coalloc real``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

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
from coalloc.cli.programs import (
    MAX_SIZE,
    MOST_OPERATIONS,
    CopiesOption,
    MaxOperationsOption,
    MaxSizeOption,
    Source,
    SpreadOption,
    UidOption,
    load_program,
)
from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.experiments.real import RealRun, run_real
from coalloc.report.measurements import benchmark_json, write_ministat
from coalloc.report.ranking import label_of
from coalloc.report.tables import counted, differing_work, milliseconds
from coalloc.vm.costs import EVENTS, CostModel, save_costs
from coalloc.vm.measuring import FURTHER, measure_samples

__all__ = ["costs_app", "real"]

costs_app = typer.Typer(help="Measure the prices of this machine, or show prices.", rich_markup_mode=None)

RoundsOption = Annotated[int, typer.Option("--rounds", help="Samples of each price.")]


def _require_writable(option: str, path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InvalidRequestError(option, str(path), "is a folder, or its folder does not exist")


@costs_app.command("measure")
def costs_measure(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the prices as JSON, for --costs of other commands.")
    ] = None,
    calls: Annotated[int, typer.Option("--calls", help="Calls of each kind in a round.")] = 2000,
    rounds: RoundsOption = 9,
    ministat: Annotated[
        Path | None, typer.Option("--ministat", metavar="FOLDER", help="Write a file of samples for each price.")
    ] = None,
    benchmark: Annotated[
        Path | None, typer.Option("--benchmark", metavar="FILE", help="Write the JSON of pytest-benchmark.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure map, unmap, fault, discard, interrupt, lock, copy and malloc on this machine, with their spread."""
    _require_writable("--output", output)
    _require_writable("--benchmark", benchmark)
    with Bar().task("rounds", 2 * rounds) as advance:
        measured = measure_samples(calls=calls, rounds=rounds, progress=advance)
    if as_json:
        print_json(
            {"measured_on": measured.measured_on, "samples_ns": {n: list(of) for n, of in measured.samples.items()}}
        )
    else:
        print_words(f"measured on {measured.measured_on}: {counted(rounds, 'round')} of {counted(calls, 'call')}")
        table = _price_table()
        for name, of in measured.samples.items():
            first, third = measured.quartiles(name)
            words = FURTHER.get(name) or measured.model().prices[name].source
            ns = (f"{value:,.0f}" for value in (measured.median(name), min(of), first, third, max(of)))
            table.add_row(_label(name), *ns, words)
        print()
        print_table(table)
    if output is not None:
        save_costs(measured.model(), output)
        note(f"wrote {output}")
    if ministat is not None:
        write_ministat(dict(measured.samples), ministat)
        note(f"wrote {ministat}: {len(measured.samples)} files")
    if benchmark is not None:
        benchmark.write_text(json.dumps(benchmark_json(measured), indent=1) + "\n", encoding="utf-8")
        note(f"wrote {benchmark}")


def _label(name: str) -> str:
    return label_of(name) if name in EVENTS else {"lock": "lock and unlock", "copy": "copy of 4 KiB"}[name]


def _price_table() -> Any:  # noqa: ANN401 (a table of rich)
    table = new_table()
    for head in ("price, in ns", "median", "least", "quartile", "quartile", "most"):
        table.add_column(head, justify="left" if head.startswith("price") else "right")
    table.add_column("what was measured")
    return table


@costs_app.command("show")
def costs_show(costs: CostsOption = "", as_json: JsonOption = False) -> None:
    """Show the prices of a file, or those that commands use without one."""
    model = costs_given(costs)
    if as_json:
        print_json(
            {
                "name": model.name,
                "measured_on": model.measured_on,
                "prices": {event: {"ns": price.ns, "source": price.source} for event, price in model.prices.items()},
            }
        )
        return
    print_words(model.words)
    table = new_table()
    for head in ("price, in ns", "median", "quartiles", "what was measured"):
        table.add_column(head, justify="right" if head in ("median", "quartiles") else "left")
    for event, price in model.prices.items():
        spread = "-" if price.quartiles is None else " .. ".join(f"{value:,.0f}" for value in price.quartiles)
        table.add_row(label_of(event), f"{price.ns:,.0f}", spread, price.source)
    print()
    print_table(table)


def real(
    source: Source = None,
    designs: Annotated[
        str, typer.Option("--designs", help=f"Comma-separated; there are {', '.join(DESIGNS)}, and file.py:name.")
    ] = "per-pipe,coalescing,coalescing+cache",
    era: EraOption = "2004-01",
    limit: LimitOption = "64M",
    copies: CopiesOption = 1,
    spread: SpreadOption = None,
    rounds: RoundsOption = 9,
    costs: Annotated[
        str, typer.Option("--costs", metavar="FILE", help="Prices from costs measure -o; measured now if not given.")
    ] = "",
    seed: SeedOption = 0,
    uid: UidOption = None,
    max_size: MaxSizeOption = MAX_SIZE,
    max_operations: MaxOperationsOption = MOST_OPERATIONS,
    as_json: JsonOption = False,
) -> None:
    """Make each design's map operations on memory of this machine, and time them beside the estimate.

    Buffers are mapped by mmap, their pages written to as the program touches them, and unmapped by munmap.
    """
    chosen, policy, size = designs_named("--designs", designs), era_named(era), size_given("--limit", limit)
    if rounds < 1:
        raise InvalidRequestError("--rounds", rounds, "must be at least 1")
    bar = Bar()
    program, _, _ = load_program(source, bar, max_size, uid, copies, spread, seed, max_operations)
    if costs:
        prices: CostModel = costs_given(costs)
    else:
        with bar.task("measuring prices", 18) as advance:
            prices = measure_samples(progress=advance).model()
    with bar.task("rounds", rounds) as advance, strangers_print_aside():
        runs = run_real(program, chosen, era=policy, limit=size, costs=prices, rounds=rounds, progress=advance)
    differing = differing_work([run.outcome for run in runs])
    if differing:
        note(f"the designs did different work, so their costs are not comparable: {differing}")
    order = _order(runs, lambda run: run.median_ns)
    estimated = _order(runs, lambda run: run.estimate_ns)
    if as_json:
        print_json(
            {
                "program": program.title,
                "era": policy.name,
                "limit": size,
                "rounds": rounds,
                "different_work": differing or None,
                "costs": {"name": prices.name, "measured_on": prices.measured_on},
                "designs": [run.as_dict() for run in runs],
                "order_measured": order,
                "order_estimated": estimated,
            }
        )
        return
    print_words(program.title or "untitled program")
    print_words(f"era {policy.name}: {policy.title}; limit {size:,} bytes")
    print_words(f"{prices.words}; {counted(rounds, 'round')}")
    print()
    table = new_table()
    table.add_column("")
    for run in runs:
        table.add_column(run.outcome.design, justify="right", no_wrap=True)
    for label, of in _REAL_ROWS.items():
        table.add_row(label, *(of(run) for run in runs))
    print_table(table)
    print()
    told = [", ".join(" = ".join(alike) for alike in by) for by in (order, estimated)]
    print_words(f"order, fastest first: measured {told[0]}; estimated {told[1]}")
    print_words("The work of designs in their own arenas is estimated only: their Python is not a kernel's C.")


_ALIKE: Final = 1.1
"""Designs whose times differ by no more than this factor from the fastest of them are called equal."""


def _order(runs: Sequence[RealRun], of: Callable[[RealRun], float]) -> list[list[str]]:
    """Return the designs from the fastest on; those that are nearly equal stand together, in the order of their names."""
    order: list[list[RealRun]] = []
    for run in sorted(runs, key=of):
        if order and of(run) <= _ALIKE * of(order[-1][0]):
            order[-1].append(run)
        else:
            order.append([run])
    return [sorted(run.outcome.design for run in alike) for alike in order]


def _optional(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}"


_REAL_ROWS: Final[Mapping[str, Callable[[RealRun], str]]] = {
    "calls": lambda run: f"{run.calls:,}",
    "measured, ms": lambda run: milliseconds(run.median_ns),
    "  quartiles": lambda run: " .. ".join(milliseconds(ns) for ns in run.quartiles),
    "estimated, ms": lambda run: milliseconds(run.estimate_ns),
    "estimated by measured": lambda run: "-" if run.ratio is None else f"{run.ratio:.2f}",
    "page faults, measured": lambda run: _optional(run.as_dict()["faults"]),
    "  counted": lambda run: f"{run.outcome.map.faults:,}",
    "maps at once in /proc": lambda run: _optional(run.maps),
    "  map entries, counted": lambda run: f"{run.outcome.map.peak_entries:,}",
    "own work, estimated, ms": lambda run: milliseconds(run.space_ns),
}
"""The rows of the table: label, and the text for a design."""
