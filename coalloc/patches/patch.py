"""`Patch`: a published change as data: the model before and after it, a load, what its author published, what the model gives.

The model's figures come from the generators and records of the other packages; a patch only says which.  Prices that no source
gives are fitted on figures from *before* the change alone, and :attr:`Patch.constants` says which, and from what.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import attrs

from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.patches.change import changed
from coalloc.scenarios.chart import Chart

__all__ = ["Constant", "Figure", "Predicted", "Patch", "Published", "change_of"]

Published: TypeAlias = float | tuple[float, float] | None
"""A figure, the least and the most of a range, or None where nothing was published."""


_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,15}")
_LONGEST: Final = 60
"""The most characters of what a figure is of."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_published(value: object) -> bool:
    """Tell whether a value is a number, or the least and the most of a range."""
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]
    return _is_number(value)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


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

    Raises:
        InvalidRequestError: For words that are no line of at most 60 characters, a value that is no finite number, or a range
            whose least is more than its most.
    """

    what: str
    given: float
    published: Published = None
    unit: str = ""
    no_change: float | None = None

    def __attrs_post_init__(self) -> None:
        if not _is_line(self.what):
            raise InvalidRequestError("what", self.what, f"must be a line of 1 to {_LONGEST} characters")
        if not _is_number(self.given):
            raise InvalidRequestError("given", self.given, "must be a finite number")
        if self.no_change is not None and not _is_number(self.no_change):
            raise InvalidRequestError("no_change", self.no_change, "must be a finite number, or None")
        if self.published is not None and not _is_published(self.published):
            raise InvalidRequestError("published", self.published, "must be a finite number, or the least and the most")

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
        """Whether the model changes in the direction that was published, or meets it; None where there is none.

        >>> Figure("throughput", -1, 21, "%", no_change=0).right_way
        False
        """
        if self.published is None or self.no_change is None:
            return None
        if self.off == 0:
            return True
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
        figures: The figures, the most important one first; at least one.
        findings: What else was found, a sentence each.
        charts: What to draw.

    Raises:
        InvalidRequestError: If there is no figure, or something else among them.
    """

    figures: tuple[Figure, ...]
    findings: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not self.figures or not all(isinstance(each, Figure) for each in self.figures):
            raise InvalidRequestError("figures", self.figures, "must be one Figure or more")


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

    Raises:
        InvalidRequestError: If the name is no short word, or what is before and after is not alike in kind, or does not differ.
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

    def __attrs_post_init__(self) -> None:
        if not _is_name(self.name):
            raise InvalidRequestError("name", self.name, "must be a word of at most 16 letters and digits, such as A10")
        if not changed(self.before, self.after):
            raise InvalidRequestError("after", self.name, "before and after have the same fields, or the same source")

    @property
    def diff(self) -> str:
        """The change of the model, as a unified diff."""
        return changed(self.before, self.after)

    def predict(self, tell: Callable[[str], None] = lambda _words: None) -> Predicted:
        """Run the model.

        Args:
            tell: Is told, in words, how far the run is.

        Raises:
            CoallocError: If the run fails, or returns something else.
        """
        with self._blamed("run"):
            predicted = self.run(tell)
        if not isinstance(predicted, Predicted):
            raise CoallocError(f"the run of {self.name} returned a {type(predicted).__name__}, not Predicted")
        return predicted

    def refit(self) -> tuple[Constant, ...]:
        """Fit the constants that are fitted anew; none if there are none.

        Raises:
            CoallocError: If the fit fails.
        """
        if self.fit is None:
            return ()
        with self._blamed("fit"):
            return self.fit()

    @contextlib.contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        """Say of an error which patch led to it."""
        try:
            yield
        except CoallocError:
            raise
        except Exception as error:
            raise CoallocError(f"the {what} of {self.name} failed: {type(error).__name__}: {error}") from error
