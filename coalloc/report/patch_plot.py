"""Draw patches: what was published beside what the model gives, figure by figure, and the charts of their loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Final

from coalloc._imports import needs_extra
from coalloc.patches.patch import Figure as Given
from coalloc.patches.patch import Patch, Predicted
from coalloc.report.plots import draw_chart, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_patches", "save_patches"]

_MODEL: Final = "#0072B2"
_TOLD: Final = "#D55E00"


def draw_patches(rows: Sequence[tuple[Patch, Predicted]]) -> Figure:
    """Draw a panel for each patch and unit, and one for each chart, below one another.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    with needs_extra("plot"):
        from matplotlib.figure import Figure
    panels: list[tuple[float, Callable[[Axes], None]]] = []
    for patch, outcome in rows:
        for unit in dict.fromkeys(figure.unit for figure in outcome.figures):
            figures = [figure for figure in outcome.figures if figure.unit == unit]
            panels.append((0.7 + 0.3 * len(figures), partial(_draw, patch=patch, figures=figures)))
        panels += [(4.0, partial(draw_chart, chart=chart)) for chart in outcome.charts]
    heights = [height for height, _ in panels]
    drawn = Figure(figsize=(9, sum(heights) + 0.3), layout="constrained")
    grid = drawn.add_gridspec(len(panels), 1, height_ratios=heights)
    for number, (_, draw) in enumerate(panels):
        draw(drawn.add_subplot(grid[number]))
    return drawn


def _draw(axes: Axes, patch: Patch, figures: Sequence[Given]) -> None:
    for place, figure in enumerate(figures):
        published = figure.published
        if isinstance(published, tuple):
            axes.plot(published, (place, place), color=_TOLD, linewidth=5, alpha=0.5, solid_capstyle="butt")
        elif published is not None:
            axes.plot(published, place, "D", color=_TOLD, markerfacecolor="none", markersize=7)
        axes.plot(figure.given, place, "o", color=_MODEL, markersize=5)
    axes.set_yticks(range(len(figures)), [figure.what for figure in figures], fontsize=8)
    axes.set_ylim(len(figures) - 0.5, -0.5)
    axes.set_title(f"{patch.name}: dot: the model; diamond or bar: published", fontsize=9, loc="left")
    axes.set_xlabel(figures[0].unit or "number", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.3)


def save_patches(rows: Sequence[tuple[Patch, Predicted]], path: str | PathLike[str]) -> None:
    """Draw patches and write them to a file, SVG or PNG by its ending; equal figures give equal files.

    Raises:
        InvalidRequestError: If the ending is none of ``FORMATS``.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    save_figure(lambda: draw_patches(rows), path)
