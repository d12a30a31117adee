"""`Result`: the outcome of a scenario as text with tables and as JSON, and whether it failed; it prints nothing itself.

A :class:`Table` is data.  A command line lays it out for its terminal, and ``str()`` lays it out in plain text.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable

import attrs

from coalloc.scenarios.chart import Chart
from coalloc.scenarios.curves import Curve
from coalloc.sched.timeline import Timeline

__all__ = ["Column", "Result", "Table"]


@attrs.frozen
class Column:
    """A column of a table.

    Args:
        name: The text of its head; may be empty.
        right: Whether its cells are aligned to the right, as numbers are.
        no_wrap: Whether its cells stay on one line where the table is wider than the terminal.
    """

    name: str
    right: bool = False
    no_wrap: bool = False


@attrs.frozen
class Table:
    """A table of text.

    Args:
        columns: Its columns, from the left.
        rows: Its rows, each with one cell for each column.

    >>> print(Table((Column("design"), Column("pipes", right=True)), (("per-pipe", "12"), ("vmem", "1,200"))))
    design    pipes
    per-pipe     12
    vmem      1,200
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [tuple(column.name for column in self.columns), *self.rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column.right else cell.ljust(width)
                for cell, width, column in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        )


class Result(abc.ABC):
    """The outcome of a scenario."""

    @abc.abstractmethod
    def parts(self) -> Iterable[str | Table]:
        """Yield the parts for people: text, which may have several lines, and tables."""

    @abc.abstractmethod
    def as_json(self) -> object:
        """Return the data for programs: a value that :mod:`json` can write."""

    def text(self) -> str:
        """Return :meth:`parts` as plain text."""
        return "\n".join(map(str, self.parts()))

    @property
    def failure(self) -> str:
        """Why the scenario failed, in one line; empty if it did not, or if the text says it already."""
        return ""

    @property
    def failed(self) -> bool:
        """Whether the scenario failed, which a command line shows as exit status 1."""
        return bool(self.failure)

    @property
    def timeline(self) -> Timeline | None:
        """What threads did when, for a scenario with an option for a trace; None without."""
        return None

    @property
    def charts(self) -> tuple[Chart, ...]:
        """What to draw in place of curves, for a scenario with such an option."""
        return ()

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The curves to draw, for a scenario with an option of the kind :class:`~coalloc.scenarios.options.PlotFile`."""
        return ()
