"""`Chart`: lines to draw, as a frozen value; the command line draws it, not the scenario."""

from __future__ import annotations

import attrs

__all__ = ["Chart", "ChartLine"]


@attrs.frozen
class ChartLine:
    """A line of a chart.

    Args:
        name: What it shows.
        points: Its points, from the left.
        dashed: Whether it is a law and not a measurement.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@attrs.frozen
class Chart:
    """Lines on two logarithmic axes.

    Args:
        title: What it shows.
        x: What the horizontal axis shows, with the unit.
        y: What the vertical axis shows, with the unit.
        lines: The lines; the dashed ones have the colour of the line before them.
    """

    title: str
    x: str
    y: str
    lines: tuple[ChartLine, ...]
