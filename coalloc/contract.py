"""What a design promises: fit, completeness, coalescing, release, constraints; a design is tested against exactly that.

Real allocators differ in what they promise, so a promise is data: a frozen :class:`Contract`.
"""

from __future__ import annotations

import enum

import attrs

from coalloc.errors import InvalidRequestError

__all__ = [
    "EAGER",
    "NEVER",
    "RETAIN",
    "Coalescing",
    "Completeness",
    "Constraint",
    "Contract",
    "Fit",
    "Release",
    "Resize",
]


class Fit(enum.Enum):
    """Which of the holes that admit a request wins.

    *Newest* means: its bounds changed last.  A hole's bounds change when a free coalesces into it, when a request is
    carved from it, and when its arena is imported; where one carve leaves two holes, the upper is the newer.
    """

    FIRST = "first"
    """The hole with the lowest address."""
    BEST = "best"
    """A smallest hole; of several, the newest."""
    NEXT = "next"
    """The first hole whose base is at or above the end of the last carve, then, from the bottom, the others."""
    INSTANT = "instant"
    """vmem's M_FIRSTFIT: the newest hole of the lowest size class whose members are all large enough; where those are
    empty (or, under constraints, their newest holes do not do), as CLASS_BEST."""
    CLASS_BEST = "class-best"
    """vmem's M_BESTFIT: from the lowest size class that may hold a fit upwards, the newest hole that fits."""


class Completeness(enum.Enum):
    """When a design may refuse."""

    EXACT = "exact"
    """Only if no hole admits the request, caches drained and arenas imported up to the limit."""
    CLASS = "class"
    """It may also overlook a hole in the request's own size class."""


class Coalescing(enum.Enum):
    """When free neighbours are joined."""

    IMMEDIATE = "immediate"
    DEFERRED = "deferred"
    """Not before caches are drained."""


@attrs.frozen
class Release:
    """How many wholly free arenas are kept: ``keep`` of them, or all (None).

    Use the names: ``EAGER`` keeps none, ``RETAIN(n)`` up to n, ``NEVER`` gives none back.  Whichever it is,
    ``reclaim()`` gives back all.
    """

    keep: int | None = attrs.field()

    @keep.validator
    def _check(self, _attribute: object, value: int | None) -> None:
        if value is not None and (type(value) is not int or value < 0):
            raise InvalidRequestError("keep", value, "a number of arenas >= 0 is needed, or None")

    def __str__(self) -> str:
        if self.keep is None:
            return "never"
        return f"retain({self.keep})" if self.keep else "eager"


EAGER = Release(0)
NEVER = Release(None)


def RETAIN(n: int) -> Release:  # noqa: N802 (reads as the other two rules do)
    """Keep up to ``n`` wholly free arenas.

    >>> str(RETAIN(2)), RETAIN(0) == EAGER
    ('retain(2)', True)
    """
    return Release(n)


class Constraint(enum.Enum):
    """A constraint of ``xalloc``, as in vmem(9)."""

    ALIGN = "align"
    PHASE = "phase"
    NOCROSS = "nocross"
    LO = "lo"
    HI = "hi"


class Resize(enum.Enum):
    """How a live buffer changes its size."""

    NONE = "none"
    MOVING = "moving"
    """The new buffer is always another one."""
    IN_PLACE = "in place"
    """In place where the space behind allows it, else moving."""


@attrs.frozen
class Contract:
    """The promises of one design.

    Args:
        fit: Which hole wins; None where a design without holes leaves the choice to its source.
        completeness: When it may refuse.
        coalescing: When neighbours are joined.
        release: How many wholly free arenas stay.
        constraints: Which constraints of ``xalloc`` are honoured.
        resize: How a buffer changes its size.
        exact_stats: Whether every figure of ``stats()`` is exact, rather than a lower bound.
    """

    fit: Fit | None
    completeness: Completeness = Completeness.EXACT
    coalescing: Coalescing = Coalescing.IMMEDIATE
    release: Release = EAGER
    constraints: frozenset[Constraint] = frozenset()
    resize: Resize = Resize.NONE
    exact_stats: bool = True
