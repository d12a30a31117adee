"""The rows of a sweep for people: a table with what differs, the Pareto front marked, and what could not be run."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from coalloc.experiments.pareto import objective_named, refused_by
from coalloc.experiments.sweeps import Failure, Sweep, SweepRow
from coalloc.pipes.design import written
from coalloc.report.tables import counted, figure_text
from coalloc.units import KiB, MiB, format_size
from coalloc.workload.figures import LABELS

__all__ = ["failure_lines", "front_words", "load_of", "sweep_table", "titles_of", "unit_of", "value_in"]

ON_FRONT: Final = "*"
"""The mark of a row on the Pareto front."""


def _setting_columns(rows: Sequence[SweepRow]) -> dict[str, Callable[[SweepRow], str]]:
    """Return what tells the settings apart: the columns that differ, each with the text for a row."""
    columns: dict[str, Callable[[SweepRow], str]] = {}
    titles = titles_of(rows)
    parameters = sorted({name for row in rows for name, _ in row.setting.parameters})
    for name in parameters:
        head = f"set_{name}" if name in ("design", "row") else name
        columns[head] = lambda row, name=name: _parameter(row.setting.parameters, name)  # type: ignore[misc]
    others: Mapping[str, Callable[[SweepRow], str]] = {
        "era": lambda row: row.setting.era,
        "limit": lambda row: format_size(row.setting.limit),
        "copies": lambda row: f"{row.setting.copies:,}",
        "seed": lambda row: f"{row.setting.seed}",
        "program": lambda row: titles[row.digest],
    }
    return columns | {name: text for name, text in others.items() if len({text(row) for row in rows}) > 1}


def _parameter(parameters: Sequence[tuple[str, Any]], name: str) -> str:
    known = dict(parameters)
    return written(known[name]) if name in known else "-"


def titles_of(rows: Iterable[SweepRow | Failure]) -> dict[str, str]:
    """Return what each program is called, by its digest: its title, with the digest where two programs share one."""
    known = {row.digest: row.program or "untitled program" for row in rows}
    shared = Counter(known.values())
    return {digest: title if shared[title] == 1 else f"{title} ({digest[:8]})" for digest, title in known.items()}


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
    if any(map(refused_by, result.rows)):
        columns["refused"] = lambda row: f"{refused_by(row):,}"
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
    """Say what the mark means, and why rows that refused more than others cannot have it."""
    names = [LABELS[objective_named(name)].partition(",")[0] for name in figures]
    words = f"{ON_FRONT} {len(on_front):,} of {counted(len(rows), 'row')}: on the Pareto front of {', '.join(names)}."
    if any(map(refused_by, rows)):
        words += " Rows that refused more than others of their load did less work, and are on no front."
    return words


def failure_lines(failures: Sequence[Failure], most: int = 5) -> list[str]:
    """Say how many settings could not be run, and why the first could not."""
    if not failures:
        return []
    lines = [f"{counted(len(failures), 'setting')} could not be run:"]
    lines += [f"{failure.setting.name}: {failure.reason}" for failure in failures[:most]]
    return lines + ([f"and {len(failures) - most:,} more"] if len(failures) > most else [])


def unit_of(name: str, rows: Sequence[SweepRow]) -> tuple[float, str]:
    """Return by what the values of a figure are divided, and what an axis is called."""
    label = LABELS[name]
    if name == "estimated_cost_ns":
        return 1e6, label
    most = max((value for row in rows if (value := row.figures[name]) is not None), default=0)
    if not label.endswith("bytes") or most < KiB:
        return 1, label
    unit, word = (MiB, "MiB") if most >= 4 * MiB else (KiB, "KiB")
    return unit, f"{label.removesuffix(' bytes')}, {word}"


def value_in(row: SweepRow, name: str, unit: float) -> float:
    """Return the value on an axis; nan where it is not known, which is not drawn."""
    value = row.figures[name]
    return math.nan if value is None else value / unit
