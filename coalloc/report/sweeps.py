"""The rows of a sweep for people: a table with what differs, the Pareto front marked, and what could not be run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from coalloc.experiments.pareto import objective_named
from coalloc.experiments.sweeps import Failure, Sweep, SweepRow
from coalloc.pipes.design import written
from coalloc.report.tables import figure_text
from coalloc.units import format_size
from coalloc.workload.figures import LABELS

__all__ = ["failure_lines", "front_words", "load_of", "sweep_table"]

ON_FRONT: Final = "*"
"""The mark of a row on the Pareto front."""


def _setting_columns(rows: Sequence[SweepRow]) -> dict[str, Callable[[SweepRow], str]]:
    """Return what tells the settings apart: the columns that differ, each with the text for a row."""
    columns: dict[str, Callable[[SweepRow], str]] = {}
    parameters = sorted({name for row in rows for name, _ in row.setting.parameters})
    for name in parameters:
        columns[name] = lambda row, name=name: _parameter(row.setting.parameters, name)  # type: ignore[misc]
    others: Mapping[str, Callable[[SweepRow], str]] = {
        "era": lambda row: row.setting.era,
        "limit": lambda row: format_size(row.setting.limit),
        "copies": lambda row: f"{row.setting.copies:,}",
        "seed": lambda row: f"{row.setting.seed}",
        "program": lambda row: row.program or row.digest,
    }
    return columns | {name: text for name, text in others.items() if len({text(row) for row in rows}) > 1}


def _parameter(parameters: Sequence[tuple[str, Any]], name: str) -> str:
    known = dict(parameters)
    return written(known[name]) if name in known else "-"


def load_of(row: SweepRow, rows: Collection[SweepRow]) -> str:
    """Return the load of a row in words: what differs between the loads of some rows."""
    columns = _setting_columns(list(rows))
    names = [name for name in ("program", "era", "copies", "seed") if name in columns]
    return ", ".join(f"{name} {columns[name](row)}" if name != "program" else columns[name](row) for name in names)


def sweep_table(
    result: Sweep, on_front: Collection[SweepRow], figures: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of a table: the row's number and mark, the design, what differs, the figures.

    Args:
        result: The sweep.
        on_front: The rows to be marked.
        figures: Names of figures, each with a column.
    """
    columns = _setting_columns(result.rows)
    names = list(dict.fromkeys(objective_named(name) for name in figures))
    rows = [
        [
            f"{number}{ON_FRONT if row in on_front else ' '}",
            row.setting.target,
            *(text(row) for text in columns.values()),
            *(figure_text(name, row.figures[name]) for name in names),
        ]
        for number, row in enumerate(result.rows, 1)
    ]
    return [
        "row ",
        "design",
        *columns,
        *(textwrap.fill(LABELS[name], 12, break_long_words=False) for name in names),
    ], rows


def front_words(on_front: Collection[SweepRow], rows: Sequence[SweepRow], figures: Sequence[str]) -> str:
    """Say what the mark means."""
    names = [LABELS[objective_named(name)].partition(",")[0] for name in figures]
    return f"{ON_FRONT} {len(on_front):,} of {len(rows):,} rows are on the Pareto front of {', '.join(names)}."


def failure_lines(failures: Sequence[Failure], most: int = 5) -> list[str]:
    """Say how many settings could not be run, and why the first could not."""
    if not failures:
        return []
    lines = [f"{len(failures):,} settings could not be run:"]
    lines += [f"{failure.setting.name}: {failure.reason}" for failure in failures[:most]]
    return lines + ([f"and {len(failures) - most:,} more"] if len(failures) > most else [])
