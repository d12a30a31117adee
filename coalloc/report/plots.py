"""Pictures of a comparison, drawn with matplotlib, which is an extra: ``pip install 'coalloc[plot]'``."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coalloc._imports import needs_extra
from coalloc.errors import InvalidRequestError
from coalloc.units import PAGE_SIZE, Extremes, format_size
from coalloc.workload.replay import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from coalloc.scenarios.chart import Chart
    from coalloc.scenarios.curves import Curve

__all__ = [
    "FORMATS",
    "draw_charts",
    "draw_comparison",
    "draw_curves",
    "require_picture",
    "save_charts",
    "save_comparison",
    "save_curves",
    "save_figure",
]

FORMATS: Final = (".svg", ".png")
# Colours told apart with any kind of colour vision (Okabe and Ito 2008).
_LINES: Final = (("mapped", "#0072B2", 2.6), ("resident", "#D55E00", 1.3), ("live", "#009E73", 1.1))
_CURVES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
_DESIGNS: Final = ("#000000", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#7A3E00", "#4B0082", "#B2DF8A")
"""Colours of designs: none of those of the figures."""
_COLUMNS: Final = 4
"""Designs side by side."""


def require_picture(path: str | PathLike[str]) -> None:
    """Check that a picture can be written under this name, before the work is done that it shows.

    Raises:
        InvalidRequestError: If its ending is none of ``FORMATS``, or its folder does not exist.
        OSError: If the file cannot be written.
        MissingExtraError: If matplotlib is not installed.
    """
    name = Path(path)
    if name.suffix not in FORMATS:
        raise InvalidRequestError("plot", fspath(path), f"the name must end in {' or '.join(FORMATS)}")
    if not name.parent.is_dir():
        raise InvalidRequestError("plot", fspath(path), "its folder does not exist")
    with needs_extra("plot"):
        import matplotlib.figure  # noqa: F401 (is it there?)
    there = name.exists()
    with open(name, "ab"):
        pass
    if not there:
        name.unlink()


def draw_comparison(outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw bytes over time for each design, side by side on one scale, and below them map operations over time.

    A line is drawn through the most since the sample before, so that the picture shows the peaks of the table, and what lies
    between the least and the most is shaded.  Designs with equal map operations share a line.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    with needs_extra("plot"):
        from matplotlib.figure import Figure
    columns = min(len(outcomes), _COLUMNS)
    rows = -(-len(outcomes) // columns)
    figure = Figure(figsize=(max(4.2 * columns, 7), 4.1 * rows + 3.4), layout="constrained")
    figure.suptitle(title, fontsize=12, parse_math=False)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=(*[1.2] * rows, 1))
    most = max((sample.mapped_range.most for outcome in outcomes for sample in outcome.series), default=PAGE_SIZE)
    top: list[Axes] = []
    for number, outcome in enumerate(outcomes):
        axes = figure.add_subplot(grid[divmod(number, columns)], sharey=top[0] if top else None)
        top.append(axes)
        for name, colour, width in _LINES:
            ranges: list[Extremes] = [getattr(sample, f"{name}_range") for sample in outcome.series]
            times, highest = _times(outcome), [extremes.most for extremes in ranges]
            lowest = [extremes.least for extremes in ranges]
            axes.fill_between(times, lowest, highest, step="pre", color=colour, alpha=0.2, linewidth=0)
            axes.step(times, highest, where="pre", color=colour, label=name, linewidth=width)
        axes.set_title(outcome.design, fontsize=11)
        axes.set_xlabel(_unit(outcome))
        axes.grid(alpha=0.3)
        if number % columns:
            axes.tick_params(labelleft=False)
    # Mapped and live differ by orders of magnitude where an arena is nearly empty: a logarithmic scale, but with a zero.
    ticks = [0, *(PAGE_SIZE * 4**power for power in range(20) if PAGE_SIZE * 4**power <= 4 * most)]
    top[0].set_yscale("symlog", linthresh=PAGE_SIZE)
    top[0].set_yticks(ticks, [format_size(tick) for tick in ticks], minor=False)
    top[0].set_yticks([], minor=True)
    top[0].set_ylim(0, 1.6 * most)
    top[0].legend(loc="lower center", ncols=3, fontsize=8)
    below = figure.add_subplot(grid[rows, :])
    shared: dict[tuple[int, ...], list[Outcome]] = {}
    for outcome in outcomes:
        shared.setdefault(tuple(sample.map_ops for sample in outcome.series), []).append(outcome)
    for number, (counts, alike) in enumerate(shared.items()):
        label = f"{', '.join(outcome.design for outcome in alike)}: {alike[0].map.map_ops:,}"
        colour = _DESIGNS[number % len(_DESIGNS)]
        below.step(_times(alike[0]), counts, where="post", color=colour, label=textwrap.fill(label, 36), linewidth=1.8)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(0, 4 * max((outcome.map.map_ops for outcome in outcomes), default=1) + 1)
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("map operations so far")
    below.set_xlabel(_unit(outcomes[0]))
    below.grid(alpha=0.3)
    below.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def _is_timed(outcome: Outcome) -> bool:
    return outcome.pipes.pipes_created + outcome.pipes.pipes_refused > 0


def _times(outcome: Outcome) -> list[float]:
    return [sample.time / 1e6 if _is_timed(outcome) else float(sample.time) for sample in outcome.series]


def _unit(outcome: Outcome) -> str:
    return "seconds" if _is_timed(outcome) else "operations"


def save_comparison(outcomes: Sequence[Outcome], title: str, path: str | PathLike[str]) -> None:
    """Draw a comparison and write it to a file, SVG or PNG by its ending; equal outcomes give equal files.

    Raises:
        InvalidRequestError: If the ending is none of ``FORMATS``.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    save_figure(lambda: draw_comparison(outcomes, title), path)


def draw_curves(curves: Sequence[Curve]) -> Figure:
    """Draw counted work against the number of the call: pipes on the left, descriptors on the right, one line each.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    with needs_extra("plot"):
        from matplotlib.figure import Figure
    groups = [(what, load) for what in ("pipe", "descriptor") for load in _loads(curves, what)]
    figure = Figure(figsize=(12, 4.2 * -(-len(groups) // 2)), layout="constrained")
    figure.suptitle("counted work of the i-th call", fontsize=12)
    for number, (what, load) in enumerate(groups):
        axes = figure.add_subplot(-(-len(groups) // 2), 2, number + 1)
        group = [curve for curve in curves if (curve.what, curve.load) == (what, load)]
        for colour, lines in zip(_CURVES * len(group), _alike(group), strict=False):
            first = lines[0]
            axes.plot(
                range(1, len(first.work) + 1),
                [max(work, 0.8) for work in first.work],
                color=colour,
                linewidth=1.3,
                label=_label(lines),
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{what}s, {load}", fontsize=11)
        axes.set_xlabel("number of holes (i)" if load == "between holes" else f"number of the {what} (i)")
        axes.set_ylabel("counted work")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", fontsize=7)
        axes.set_ylim(0.7, 30 * max(max(curve.work) for curve in group))
    return figure


def _label(curves: Sequence[Curve]) -> str:
    eras = ", ".join(curve.era for curve in curves if curve.era)
    first = curves[0]
    return f"{first.name}{f' ({eras})' if eras else ''}: {'flat' if first.flat else f'grows as i^{first.exponent:.2f}'}"


def _loads(curves: Sequence[Curve], what: str) -> list[str]:
    return list(dict.fromkeys(curve.load for curve in curves if curve.what == what))


def _alike(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Group curves of one name that are equal, so that one line does not hide behind another."""
    groups: dict[tuple[str, tuple[int, ...]], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.name, curve.work), []).append(curve)
    return list(groups.values())


def draw_charts(charts: Sequence[Chart]) -> Figure:
    """Draw charts below one another; what is dashed has the colour of the line before it.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    with needs_extra("plot"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 5 * len(charts)), layout="constrained")
    for number, chart in enumerate(charts):
        draw_chart(figure.add_subplot(len(charts), 1, number + 1), chart)
    return figure


def draw_chart(axes: Axes, chart: Chart) -> None:
    """Draw one chart."""
    from matplotlib.ticker import StrMethodFormatter

    drawn = -1
    for line in chart.lines:
        drawn += not line.dashed
        axes.plot(
            *zip(*line.points, strict=True),
            color=_CURVES[drawn % len(_CURVES)],
            label=None if line.dashed else line.name,
            linestyle="--" if line.dashed else "-",
            linewidth=0.9 if line.dashed else 1.6,
            marker="" if line.dashed else "o",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    laws = "; dashed: the laws" if any(line.dashed for line in chart.lines) else ""
    axes.set_title(chart.title + laws, fontsize=11)
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)


def save_charts(charts: Sequence[Chart], path: str | PathLike[str]) -> None:
    """Draw charts and write them to a file, SVG or PNG by its ending; equal charts give equal files.

    Raises:
        InvalidRequestError: If the ending is none of ``FORMATS``.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    save_figure(lambda: draw_charts(charts), path)


def save_curves(curves: Sequence[Curve], path: str | PathLike[str]) -> None:
    """Draw curves and write them to a file, SVG or PNG by its ending; equal curves give equal files.

    Raises:
        InvalidRequestError: If the ending is none of ``FORMATS``.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    save_figure(lambda: draw_curves(curves), path)


def save_figure(draw: Callable[[], Figure], path: str | PathLike[str]) -> None:
    """Draw a figure, and write it to a file, SVG or PNG by its ending; equal figures give equal files.

    Raises:
        InvalidRequestError: If the ending is none of ``FORMATS``.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    require_picture(path)
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "coalloc", "svg.fonttype": "none"}):
        figure = draw()
        metadata = {"Date": None} if fspath(path).endswith(".svg") else {}
        figure.savefig(fspath(path), metadata=metadata, dpi=120)
