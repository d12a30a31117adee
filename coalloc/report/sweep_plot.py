"""A picture of a sweep: every setting as a point, those on the Pareto front numbered and named; drawn with matplotlib."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Final

from coalloc._imports import needs_extra
from coalloc.experiments.pareto import objective_named
from coalloc.experiments.sweeps import Sweep, SweepRow
from coalloc.report.plots import save_figure
from coalloc.report.sweeps import load_of, unit_of, value_in
from coalloc.units import format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_front", "save_front"]

_MOST_LOADS: Final = 6
"""The most loads of a sweep that one picture shows."""
_MOST_NAMED: Final = 12
"""The most settings on a front that are named in the picture."""


def draw_front(result: Sweep, on_front: Collection[SweepRow], objectives: Sequence[str]) -> Figure:
    """Draw the settings of a sweep: for each load a row of panels, the first objective over each of the others.

    Settings on the Pareto front are filled, and numbered as the rows are; beside the panels they
    are named.  Less is better on both axes.

    Args:
        result: The sweep, with at least one row.
        on_front: The rows on the front.
        objectives: Names of figures, at least one.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    with needs_extra("plot"):
        from matplotlib.figure import Figure
    names = list(dict.fromkeys(objective_named(name) for name in objectives))
    across = names[1:] or names
    loads: dict[str, list[SweepRow]] = {}
    for row in result.rows:
        loads.setdefault(load_of(row, result.rows) or row.program or "untitled program", []).append(row)
    number_of = {row: number for number, row in enumerate(result.rows, 1)}
    shown = dict(list(loads.items())[:_MOST_LOADS])
    figure = Figure(figsize=(2.9 * len(across) + 3.6, 3.4 * len(shown) + 0.6), layout="constrained")
    left_out = f"; the first {len(shown)} of {len(loads)} loads" if len(loads) > len(shown) else ""
    figure.suptitle(f"filled: on the Pareto front, with the number of the row; less is better{left_out}", fontsize=11)
    grid = figure.add_gridspec(len(shown), len(across))
    for line, (title, rows) in enumerate(shown.items()):
        numbers = {row: number_of[row] for row in rows if row in on_front}
        for column, name in enumerate(across):
            axes = figure.add_subplot(grid[line, column])
            y_label = _draw_panel(axes, rows, numbers, name, names[0])
            axes.set_ylabel(y_label if not column else "")
            if not column:
                axes.set_title(title, fontsize=10, loc="left", parse_math=False)
        named = [f"{number} {_named(row, rows)}" for row, number in numbers.items()]
        if len(named) > _MOST_NAMED:
            named = [*named[:_MOST_NAMED], f"and {len(named) - _MOST_NAMED} more"]
        words = "\n".join(textwrap.fill(text, 42, subsequent_indent="   ") for text in named)
        axes.annotate(words, (1.04, 1), xycoords="axes fraction", fontsize=8, va="top", annotation_clip=False)
    return figure


def _draw_panel(axes: Axes, rows: Sequence[SweepRow], numbers: Mapping[SweepRow, int], x: str, y: str) -> str:
    """Draw one figure over another, with the numbers of the rows on the front, and return what the y axis is called."""
    unit, label = unit_of(x, rows)
    y_unit, y_label = unit_of(y, rows)
    at = {row: (value_in(row, x, unit), value_in(row, y, y_unit)) for row in rows}
    for chosen, size, fill, edge in ((False, 5, "none", "#777777"), (True, 7, "#0072B2", "#0072B2")):
        points = [at[row] for row in rows if (row in numbers) is chosen]
        axes.plot(
            [across for across, _ in points],
            [up for _, up in points],
            linestyle="none",
            marker="o",
            markersize=size,
            markerfacecolor=fill,
            markeredgecolor=edge,
        )
    shared: dict[tuple[float, float], list[str]] = {}
    for row, number in numbers.items():
        shared.setdefault(at[row], []).append(f"{number}")
    for point, which in shared.items():
        if not any(map(math.isnan, point)):
            text = ", ".join(which[:_MOST_AT_A_POINT]) + (", ..." if len(which) > _MOST_AT_A_POINT else "")
            axes.annotate(text, point, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel(label)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(0.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(alpha=0.3)
    return y_label


_MOST_AT_A_POINT: Final = 3
"""The most numbers beside one point."""


def _named(row: SweepRow, rows: Sequence[SweepRow]) -> str:
    several = len({other.setting.limit for other in rows}) > 1
    return f"{row.setting.name}{f', limit {format_size(row.setting.limit)}' if several else ''}"


def save_front(
    result: Sweep, on_front: Collection[SweepRow], objectives: Sequence[str], path: str | PathLike[str]
) -> None:
    """Draw the settings of a sweep, and save the picture.

    Raises:
        InvalidRequestError: As :func:`require_picture`.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    save_figure(lambda: draw_front(result, on_front, objectives), path)
