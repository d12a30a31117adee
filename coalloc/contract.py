"""Contracts: the promises of a design, such as fit, completeness, coalescing, release and constraints.

Real allocators promise different things, so a promise is data, a frozen :class:`Contract`.  A design is tested against exactly
what it promises.
"""

from __future__ import annotations

import enum

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.units import MAX_ADDRESS

__all__ = [
    "ANYWHERE",
    "EAGER",
    "NEVER",
    "RETAIN",
    "Bounds",
    "Capability",
    "Coalescing",
    "Completeness",
    "Constraint",
    "Contract",
    "Fit",
    "Geometry",
    "Release",
    "Resize",
    "Tie",
    "Work",
    "capabilities_of",
]


class Fit(enum.Enum):
    """Which of the holes that admit a request is taken.

    The *newest* hole is the one whose bounds changed last.  A hole's bounds change when a free coalesces into it, when a
    request is carved from it, and when its arena is imported.  If one carve leaves two holes, the upper one is newer.
    """

    FIRST = "first"
    """The hole with the lowest address."""
    BEST = "best"
    """A smallest hole; of several, the one that the contract's ``tie`` names."""
    NEXT = "next"
    """The first hole whose base is at or above the end of the last carve, then, from the bottom, the others."""
    INSTANT = "instant"
    """vmem's M_FIRSTFIT: the newest hole of the lowest size class whose members are all large enough; where those are
    empty (or, under constraints, their newest holes do not do), as CLASS_BEST."""
    CLASS_BEST = "class-best"
    """vmem's M_BESTFIT: from the lowest size class that may hold a fit upwards, the newest hole that fits."""


class Tie(enum.Enum):
    """Which of several smallest holes BEST takes."""

    NEWEST = "newest"
    LOWEST = "lowest"


class Geometry(enum.Enum):
    """Which ranges a hole may be."""

    ANY = "any"
    """Every maximal free range is one hole."""
    BUDDY = "buddy"
    """Sizes are rounded up to a power of two of quanta; a hole is a block of such a size, aligned to it within its arena,
    and joins only with its buddy: the other half of the next larger block."""


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


class Work(enum.Enum):
    """How the steps of one ``alloc`` or ``free`` grow with the number of holes, at worst."""

    CONSTANT = "constant"
    LOG = "logarithmic"
    LINEAR = "linear"


@attrs.frozen
class Release:
    """How many wholly free arenas are kept: at most ``keep`` of them, or any number (None).

    Use the names: ``EAGER`` keeps none, ``RETAIN(n)`` keeps up to n, and ``NEVER`` releases none by itself.  A rule that keeps
    any keeps at least one: a free does not release the last idle arena.  Under every rule ``reclaim()`` releases all arenas
    except *static* ones, which were mapped when the space was made.
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


@attrs.frozen
class Bounds:
    """Where a request may lie: the five constraints of vmem(9)'s vmem_xalloc, in bytes; as made, they ask for nothing.

    Args:
        align: The base is ``phase`` behind a multiple of this power of two; 0 asks for none.
        phase: A multiple of the quantum below ``align``.
        nocross: The range crosses no multiple of this power of two, which is at least the size; 0 asks for none.
        lo: Lowest address the range may hold.
        hi: Highest address the range may hold (inclusive).
    """

    align: int = 0
    phase: int = 0
    nocross: int = 0
    lo: int = 0
    hi: int = MAX_ADDRESS


ANYWHERE = Bounds()
"""No constraint at all."""


class Resize(enum.Enum):
    """How a live buffer changes its size."""

    NONE = "none"
    MOVING = "moving"
    """The new buffer is always another one."""
    IN_PLACE = "in place"
    """In place where the space behind allows it, else moving."""


class Capability(enum.Enum):
    """A capability beside ``alloc`` and ``free``; the value is the name of the member that provides it."""

    SIZE_OF = "size_of"
    RESIZE = "resize"
    XALLOC = "xalloc"
    RESERVE = "reserve"
    TOUCH = "touch"
    DISCARD = "discard"
    RECLAIM = "reclaim"
    SEGMENTS = "segments"
    STATS = "stats"
    VIOLATIONS = "violations"
    CPU = "cpu"


def capabilities_of(space: object) -> frozenset[Capability]:
    """Return what a space can do, found by the members that it has; one that is None is one that it lacks.

    >>> from coalloc import KernelMap, PerPipeSpace
    >>> space = PerPipeSpace(KernelMap(), kva_limit=4096)
    >>> Capability.RESIZE in capabilities_of(space), Capability.XALLOC in capabilities_of(space)
    (True, False)
    """
    return frozenset(item for item in Capability if getattr(space, item.value, None) is not None)


@attrs.frozen
class Contract:
    """The promises of one design.

    Args:
        fit: Which hole is taken; None for a design without holes, which leaves the choice to its source.
        completeness: When it may refuse.
        coalescing: When free neighbours are joined.
        release: How many wholly free arenas stay mapped.
        constraints: The constraints of ``xalloc`` that are honoured.
        resize: How a buffer changes its size.
        exact_stats: Whether every figure of ``stats()`` is exact; if not, ``largest_hole`` is a lower bound.
        tie: Which of several smallest holes BEST takes; None leaves it open.
        geometry: Which ranges a hole may be.
        work: How the steps of a call grow with the number of holes; None promises nothing.
        checks_frees: Whether the free of an address that is not the base of a live buffer is refused.
        limited: Whether ``kva_limit`` is kept.
    """

    fit: Fit | None
    completeness: Completeness = Completeness.EXACT
    coalescing: Coalescing = Coalescing.IMMEDIATE
    release: Release = EAGER
    constraints: frozenset[Constraint] = frozenset()
    resize: Resize = Resize.NONE
    exact_stats: bool = True
    tie: Tie | None = None
    geometry: Geometry = Geometry.ANY
    work: Work | None = None
    checks_frees: bool = True
    limited: bool = True
