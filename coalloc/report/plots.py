"""Pictures of a comparison, drawn with matplotlib, which is an extra: ``pip install 'coalloc[plot]'``."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coalloc.errors import InvalidRequestError, MissingExtraError
from coalloc.units import MiB
from coalloc.workload.replay import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_comparison", "require_format", "save_comparison"]

FORMATS: Final = (".svg", ".png")
# Colours told apart with any kind of colour vision (Okabe and Ito 2008).
_LINES: Final = (("mapped", "#0072B2"), ("resident", "#D55E00"), ("live", "#009E73"))
_DESIGNS: Final = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def require_format(path: str | PathLike[str]) -> None:
    """Check that a picture can be written under this name.

    Raises:
        InvalidRequestError: If its ending is none of ``FORMATS``, or its folder does not exist.
        MissingExtraError: If matplotlib is not installed.
    """
    name = Path(path)
    if name.suffix not in FORMATS:
        raise InvalidRequestError("plot", fspath(path), f"the name must end in {' or '.join(FORMATS)}")
    if not name.parent.is_dir():
        raise InvalidRequestError("plot", fspath(path), "its folder does not exist")
    try:
        import matplotlib.figure  # noqa: F401 (is it there?)
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None


def draw_comparison(outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw bytes over time for each design, side by side on one scale, and below them map operations over time.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot") from None
    figure = Figure(figsize=(max(4.2 * len(outcomes), 7), 7.5), layout="constrained")
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(2, len(outcomes), height_ratios=(1.2, 1))
    top: list[Axes] = []
    for column, outcome in enumerate(outcomes):
        axes = figure.add_subplot(grid[0, column], sharey=top[0] if top else None)
        top.append(axes)
        seconds = _seconds(outcome)
        for name, colour in _LINES:
            values = [getattr(sample, name) / MiB for sample in outcome.series]
            axes.step(seconds, values, where="post", color=colour, label=name, linewidth=1.3)
        axes.set_title(outcome.design, fontsize=11)
        axes.set_xlabel(_unit(outcome))
        axes.grid(alpha=0.3)
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("MiB")
    top[0].set_ylim(bottom=0)
    top[-1].legend(loc="best", fontsize=9)
    below = figure.add_subplot(grid[1, :])
    for outcome, colour in zip(outcomes, _DESIGNS * len(outcomes), strict=False):
        counts = [sample.map_ops for sample in outcome.series]
        label = f"{outcome.design}: {outcome.map.map_ops:,}"
        below.step(_seconds(outcome), counts, where="post", color=colour, label=label, linewidth=1.5)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylim(bottom=0)
    below.set_ylabel("map operations so far")
    below.set_xlabel(_unit(outcomes[0]))
    below.grid(alpha=0.3)
    below.legend(loc="best", fontsize=9)
    return figure


def _is_timed(outcome: Outcome) -> bool:
    return outcome.pipes.pipes_created + outcome.pipes.pipes_refused > 0


def _seconds(outcome: Outcome) -> list[float]:
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
    require_format(path)
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "coalloc", "svg.fonttype": "none"}):
        figure = draw_comparison(outcomes, title)
        metadata = {"Date": None} if fspath(path).endswith(".svg") else {}
        figure.savefig(fspath(path), metadata=metadata, dpi=120)
