"""`Patch`: a published change as data: the model before and after it, a load, what its author published, what the model gives.

The model's figures come from the generators and records of the other packages; a patch only says which.  Prices that no source
gives are fitted on figures from *before* the change alone, and :attr:`Patch.constants` says which, and from what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from coalloc.patches.change import changed
from coalloc.scenarios.chart import Chart

__all__ = ["Constant", "Figure", "Predicted", "Patch", "Published", "change_of"]

Published: TypeAlias = float | tuple[float, float] | None
"""A figure, the least and the most of a range, or None where nothing was published."""


def change_of(before: float, after: float) -> float:
    """Return by how many percent a figure changes.

    >>> change_of(80, 100)
    25.0
    """
    return (after / before - 1) * 100


@attrs.frozen
class Figure:
    """One figure, as the model gives it and as it was published.

    Args:
        what: What it is of.
        given: What the model gives.
        published: What was published, in the same unit.
        unit: The unit, such as ``%``; empty for a plain number.
        no_change: The value that would mean that the patch changes nothing; None for a figure that has no direction.
    """

    what: str
    given: float
    published: Published = None
    unit: str = ""
    no_change: float | None = None

    @property
    def off(self) -> float | None:
        """How far the model lies from what was published; 0 within a range, None if nothing was published.

        >>> Figure("throughput", 18.5, 21, "%", no_change=0).off
        -2.5
        >>> Figure("throughput", 30, (21, 48), "%").off
        0.0
        """
        if self.published is None:
            return None
        least, most = self.published if isinstance(self.published, tuple) else (self.published, self.published)
        return float(self.given - min(max(self.given, least), most))

    @property
    def right_way(self) -> bool | None:
        """Whether the model changes in the direction that was published; None where there is none.

        >>> Figure("throughput", -1, 21, "%", no_change=0).right_way
        False
        """
        if self.published is None or self.no_change is None:
            return None
        published = sum(self.published) / 2 if isinstance(self.published, tuple) else self.published
        return (self.given - self.no_change) * (published - self.no_change) > 0


@attrs.frozen
class Constant:
    """A price or number that the model takes from elsewhere.

    Args:
        name: What it is.
        value: Its value.
        unit: Its unit.
        source: Where it is from.
        fitted: Whether it was fitted on figures from before the patch.
    """

    name: str
    value: float
    unit: str
    source: str
    fitted: bool = False


@attrs.frozen
class Predicted:
    """What the model gives.

    Args:
        figures: The figures, the most important one first.
        findings: What else was found, a sentence each.
        charts: What to draw.
    """

    figures: tuple[Figure, ...]
    findings: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()


@attrs.frozen
class Patch:
    """A change that was published, and the model of it.

    Args:
        name: Its number, such as ``A10``.
        title: What it changes, in a line.
        source: Which kernel, when, and where it was published.
        before: The model before: a record (of attrs), or a function, such as the generator of a thread.
        after: The model after, of the same kind.
        load: What the author ran, and what the model runs.
        published: What the author said came of it.
        run: Runs the model; it is called with a function that is told, in words, how far the run is.
        constants: What the model takes from elsewhere.
        fit: Fits the constants that are fitted; None if there are none.
        lacks: What the model does not have and the kernel does, where that matters.
        rank: Its place in lists.
    """

    name: str
    title: str
    source: str
    before: Any
    after: Any
    load: str
    published: str
    run: Callable[[Callable[[str], None]], Predicted]
    constants: tuple[Constant, ...] = ()
    fit: Callable[[], tuple[Constant, ...]] | None = None
    lacks: str = ""
    rank: int = 100

    @property
    def diff(self) -> str:
        """The change of the model, as a unified diff."""
        return changed(self.before, self.after)

    def predict(self) -> Predicted:
        """Run the model."""
        return self.run(lambda _words: None)
