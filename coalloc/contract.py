"""Contracts: the promises of a design, such as fit, completeness, coalescing, release and constraints.

Real allocators promise different things, so a promise is data, a frozen :class:`Contract`.  A design is tested against exactly
what it promises.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.units import MAX_ADDRESS

__all__ = [
    "ANYWHERE",
    "ANY_RELEASE",
    "EAGER",
    "NEVER",
    "RETAIN",
    "RETAIN_BYTES",
    "Bounds",
    "Capability",
    "Coalescing",
    "Completeness",
    "Constraint",
    "Contract",
    "End",
    "Fit",
    "Geometry",
    "Law",
    "Release",
    "Resize",
    "Rounding",
    "Spans",
    "Tie",
    "Work",
    "capabilities_of",
    "member_named",
    "parse_release",
]


_E = TypeVar("_E", bound=enum.Enum)


class Fit(enum.Enum):
    """Which of the holes that admit a request is taken.

    The *newest* hole is the one whose bounds changed last.  A hole's bounds change when a free coalesces into it, when a
    request is carved from it, and when its arena is imported.  If one carve leaves two holes, the upper one is newer.
    """

    FIRST = "first"
    """The hole with the lowest address."""
    LAST = "last"
    """The hole with the highest address."""
    BEST = "best"
    """A smallest hole; of several, the one that the contract's ``tie`` names."""
    WORST = "worst"
    """A largest hole; of several, the one that the contract's ``tie`` names."""
    NEXT = "next"
    """The first hole whose base is at or above the end of the last carve, then, from the bottom, the others."""
    INSTANT = "instant"
    """vmem's M_FIRSTFIT: the newest hole of the lowest size class whose members are all large enough; where those are
    empty (or, under constraints, their newest holes do not do), as CLASS_BEST."""
    CLASS_BEST = "class-best"
    """vmem's M_BESTFIT: from the lowest size class that may hold a fit upwards, the newest hole that fits."""


class Tie(enum.Enum):
    """Which of several smallest holes BEST takes, or of several largest ones WORST."""

    NEWEST = "newest"
    LOWEST = "lowest"
    HIGHEST = "highest"


class End(enum.Enum):
    """The end of the hole from which a request is carved."""

    LOW = "low"
    HIGH = "high"


class Geometry(enum.Enum):
    """Which ranges a hole may be."""

    ANY = "any"
    """Every maximal free range is one hole."""
    BUDDY = "buddy"
    """Sizes are rounded up to a power of two of quanta; a hole is a block of such a size, aligned to it within its arena,
    and joins only with its buddy: the other half of the next larger block."""
    BUDDY_ABSOLUTE = "buddy-absolute"
    """The same, but blocks are aligned by their address, wherever their arena begins."""

    @property
    def buddies(self) -> bool:
        """Whether holes are blocks."""
        return self is not Geometry.ANY


@attrs.frozen
class Completeness:
    """When a design may refuse: how large a hole must be to oblige it to serve a request.

    Use the names:

    * ``Completeness.EXACT``: a hole that admits the request, caches drained and arenas imported up to the limit.
    * ``Completeness.CLASS``: a hole of a higher size class of vmem than the request's own: one class for each number of quanta
      up to 32, then one for each doubling.
    * ``Completeness.TLSF(lists)``: a hole that is large enough once the request is rounded up to the next list, where each
      doubling of the number of quanta has so many lists (TLSF's second level).  ``TLSF(1)`` rounds up to a power of two, as
      half-fit does.
    * ``Completeness.BEST_EFFORT``: none.  It may refuse whenever the limit or the source forbids another arena.  When nothing
      is live, it must serve requests of up to a sixteenth of the limit, and requests no larger than one that it has served.

    Under constraints all but EXACT may overlook any hole.
    """

    search: str = "exact"
    lists: int = attrs.field(default=0)

    EXACT: ClassVar[Completeness]
    CLASS: ClassVar[Completeness]
    BEST_EFFORT: ClassVar[Completeness]

    @lists.validator
    def _check(self, _attribute: object, lists: int) -> None:
        if self.search == "tlsf" and (type(lists) is not int or lists < 1):
            raise InvalidRequestError("lists", lists, "must be an int >= 1")

    @staticmethod
    def TLSF(lists: int) -> Completeness:  # noqa: N802 (reads as the other levels do)
        """Return the level of a search that is rounded up to one of so many lists for each doubling."""
        return Completeness("tlsf", lists)

    def __str__(self) -> str:
        return f"tlsf({self.lists})" if self.search == "tlsf" else self.search


Completeness.EXACT = Completeness("exact")
Completeness.CLASS = Completeness("class")
Completeness.BEST_EFFORT = Completeness("best-effort")


class Coalescing(enum.Enum):
    """When free space can be used again, joined with its free neighbours."""

    IMMEDIATE = "immediate"
    DEFERRED = "deferred"
    """Not before caches are drained."""
    BY_ARENA = "by-arena"
    """Not before all of its arena is free."""


class Rounding(enum.Enum):
    """How the bytes of a request are rounded."""

    QUANTUM = "quantum"
    """Up to whole quanta; with buddies up to a block."""
    POWER = "power"
    """Up to a power of two of quanta."""
    CLASSES = "classes"
    """Up to the next of the contract's ``classes``, beyond the largest to whole quanta."""
    SHOWN = "shown"
    """Up to whole quanta or more: ``size_of()`` shows what a buffer occupies.  Only for BEST_EFFORT.

    Nothing shows what a refused request would have occupied; it may be refused where twice its size does not fit.
    """
    OWN = "own"
    """As the design's method ``footprint(size)`` says, which returns all bytes that a request occupies."""


class Spans(enum.Enum):
    """Whether arenas that touch may be one."""

    SEPARATE = "separate"
    JOINED = "joined"
    """Holes and buffers may lie across the seam."""


class Law(enum.Enum):
    """A metamorphic law: what a change of the world does to the layout."""

    SHIFT = "shift"
    """Higher addresses of the source give equally higher addresses of the buffers."""
    SCALE = "scale"
    """A larger quantum and granule with equally larger sizes give equally larger addresses."""


class Work(enum.Enum):
    """How the steps of one ``alloc`` or ``free`` grow with the number of holes, at worst."""

    CONSTANT = "constant"
    LOG = "logarithmic"
    LINEAR = "linear"


@attrs.frozen
class Release:
    """How many wholly free arenas are kept: at most ``keep`` of them, or any number (None).

    Use the names: ``EAGER`` keeps none, ``RETAIN(n)`` keeps up to n, ``RETAIN_BYTES(n)`` keeps up to n bytes of them, ``NEVER``
    releases none by itself, and ``ANY_RELEASE`` promises nothing.  A rule that keeps any keeps at least one: a free does not
    release the last idle arena (``RETAIN_BYTES``: one that it could have kept).  Under every rule ``reclaim()`` releases all
    arenas except *static* ones, which were mapped when the space was made.

    Args:
        keep: The most arenas, or bytes of arenas, that are kept; None for any number.
        unit: What ``keep`` counts: "arenas" or "bytes"; "any" where nothing is promised.
    """

    keep: int | None = attrs.field()
    unit: str = attrs.field(default="arenas", validator=attrs.validators.in_(("arenas", "bytes", "any")))

    @keep.validator
    def _check(self, _attribute: object, value: int | None) -> None:
        if value is not None and (type(value) is not int or value < 0):
            raise InvalidRequestError("keep", value, "a number of arenas >= 0 is needed, or None")

    def __str__(self) -> str:
        if self.keep is None:
            return "any" if self.unit == "any" else "never"
        if self.unit == "bytes":
            return f"retain-bytes({self.keep})"
        return f"retain({self.keep})" if self.keep else "eager"


EAGER = Release(0)
NEVER = Release(None)
ANY_RELEASE = Release(None, "any")


def RETAIN(n: int) -> Release:  # noqa: N802 (reads as the other two rules do)
    """Keep up to ``n`` wholly free arenas.

    >>> str(RETAIN(2)), RETAIN(0) == EAGER
    ('retain(2)', True)
    """
    return Release(n)


def RETAIN_BYTES(n: int) -> Release:  # noqa: N802 (reads as the other rules do)
    """Keep wholly free arenas of up to ``n`` bytes together.

    >>> str(RETAIN_BYTES(65536))
    'retain-bytes(65536)'
    """
    return Release(n, "bytes")


def member_named(kind: type[_E], text: str) -> _E | None:
    """Return the member of an Enum by its value or its name, in any case, with "-" for a space or an underscore; else None.

    >>> member_named(Fit, "class-best"), member_named(Fit, "FIRST"), member_named(Fit, "tall")
    (<Fit.CLASS_BEST: 'class-best'>, <Fit.FIRST: 'first'>, None)
    """
    wanted = text.lower().replace("_", "-")
    for member in kind:
        if wanted in (
            str(member.value).lower().replace(" ", "-").replace("_", "-"),
            member.name.lower().replace("_", "-"),
        ):
            return member
    return None


def parse_release(text: str, name: str = "release") -> Release:
    """Read a release rule, as it is written: ``retain(2)``, which shells prefer as ``retain:2``, ``eager``, and so on.

    Args:
        text: The rule.
        name: What it was given for, for errors.

    Raises:
        InvalidRequestError: If the text is not a release rule.

    >>> parse_release("retain(2)").keep, parse_release("retain:2").keep
    (2, 2)
    """
    if text in _PLAIN_RULES:
        return _PLAIN_RULES[text]
    if kept := re.fullmatch(r"(retain|retain-bytes)(?:\((\d{1,20})\)|:(\d{1,20}))", text):
        number = int(kept[2] or kept[3])
        return RETAIN(number) if kept[1] == "retain" else RETAIN_BYTES(number)
    raise InvalidRequestError(name, text, "must be eager, retain(N), retain-bytes(N), never or any")


_PLAIN_RULES: Final = {"eager": EAGER, "never": NEVER, "any": ANY_RELEASE}


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
    SLIDING = "sliding"
    """Anywhere in the buffer and the free space around it, if they suffice together; else moving."""
    IN_PLACE_ONLY = "in place only"
    """In place where the space behind allows it, else refused."""


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
    """Return what a space can do, found by the methods that it has; one that is None is one that it lacks.

    >>> from coalloc import KernelMap, PerPipeSpace
    >>> space = PerPipeSpace(KernelMap(), kva_limit=4096)
    >>> Capability.RESIZE in capabilities_of(space), Capability.XALLOC in capabilities_of(space)
    (True, False)
    """
    members = {item: getattr(space, item.value, None) for item in Capability}
    return frozenset(
        item for item, it in members.items() if it is not None and (callable(it) or item is Capability.CPU)
    )


def _size(least: int) -> Callable[[object, attrs.Attribute[Any], int | None], None]:
    """Return a validator for bytes, at least so many; None is allowed where it is the default."""

    def check(_instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
        if value is None and attribute.default is None:
            return
        if type(value) is not int or not least <= value <= MAX_ADDRESS:
            raise InvalidRequestError(attribute.name, value, f"must be bytes, an int >= {least}")

    return check


def _classes(_instance: object, _attribute: object, value: tuple[int, ...]) -> None:
    if list(value) != sorted(set(value)) or any(type(size) is not int or size < 1 for size in value):
        raise InvalidRequestError("classes", value, "must be ascending sizes in bytes")


def _ranges(_instance: object, _attribute: object, value: tuple[tuple[int, int], ...]) -> None:
    ends = [end for pair in value for end in pair]
    if ends != sorted(ends) or any(type(end) is not int or not 0 <= end <= MAX_ADDRESS for end in ends):
        raise InvalidRequestError("excluded", value, "must be ascending ranges of addresses")


@attrs.frozen
class Contract:
    """The promises of one design: which place is taken, how much that is, when a request is refused, and what becomes of space.

    Args:
        fit: Which hole is taken; None for a design without holes, which leaves the choice to its source, or promises nothing.
        end: From which end of the hole a request is carved.
        tie: Which of several smallest holes BEST takes, or largest WORST; None leaves it open.
        two_ended: Requests of at least so many bytes are placed from the other end of the address space (LAST for FIRST,
            HIGH for LOW); 0 for no such rule.
        geometry: Which ranges a hole may be.
        largest_block: Bytes of the largest block of buddies; larger requests are refused.  None sets no bound.
        deterministic: Whether equal programs give equal addresses.
        laws: Which metamorphic laws hold; None for those that the fit implies: all for a declared fit, none for ``None``.
        rounding: How its bytes are rounded.
        classes: The sizes for Rounding.CLASSES, ascending, in bytes.
        doubling: Whether the classes go on: those above half of the largest, doubled again and again.
        header: Bytes in front of the returned address, a multiple of the quantum.
        guard: Bytes behind the rounded size that belong to no buffer, a multiple of the quantum.
        least: The least bytes that a buffer occupies, header and guard included.
        remainder: A rest of a hole of fewer bytes than this stays with the buffer; 0 for none.
        max_size: The largest request, in bytes, that is ever served; None sets no bound below 2**63.
        completeness: How large a hole must be to oblige it to serve.
        reclaims: Whether caches are drained, and idle arenas released, for a request that would else be refused.
        retries: Whether a smaller arena is tried where the source or the limit forbids a larger one.
        max_segments: The most segments, busy and free, that it can keep; None sets no bound.
        reserve: Bytes of the limit that requests may not take.
        reserve_percent: The same as a percentage of the limit.
        limited: Whether ``kva_limit`` is kept.
        coalescing: When free space can be used again.
        release: How many wholly free arenas stay mapped.
        spans: Whether arenas that touch may be one.
        arena: Bytes of every arena, where they have one size and a larger request is refused; None for arenas of any size;
            0 for the size that the design is told by ``arena_size=``.
        arena_head: Bytes at the base of each arena that are never handed out.
        arena_tail: Bytes at the end of each arena that are never handed out.
        ahead: Whether arenas may be mapped before they are needed.
        excluded: First and last address of ranges that are never handed out, ascending.
        constraints: The constraints of ``xalloc`` that are honoured.
        resize: How a buffer changes its size.
        exact_stats: Whether every figure of ``stats()`` is exact; if not, ``largest_hole`` is a lower bound.
        work: How the steps of a call grow with the number of holes; None promises nothing.
        checks_frees: Whether the free of an address that is not the base of a live buffer is refused.
        reentrant: Whether buffers may be freed while the source maps an arena.
    """

    fit: Fit | None
    completeness: Completeness = attrs.field(
        default=Completeness.EXACT, validator=attrs.validators.instance_of(Completeness)
    )
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
    end: End = End.LOW
    two_ended: int = attrs.field(default=0, validator=_size(0))
    largest_block: int | None = attrs.field(default=None, validator=_size(1))
    deterministic: bool = True
    laws: frozenset[Law] | None = None
    rounding: Rounding = Rounding.QUANTUM
    classes: tuple[int, ...] = attrs.field(default=(), validator=_classes)
    doubling: bool = False
    header: int = attrs.field(default=0, validator=_size(0))
    guard: int = attrs.field(default=0, validator=_size(0))
    least: int = attrs.field(default=0, validator=_size(0))
    remainder: int = attrs.field(default=0, validator=_size(0))
    max_size: int | None = attrs.field(default=None, validator=_size(1))
    max_segments: int | None = attrs.field(default=None, validator=_size(1))
    reserve: int = attrs.field(default=0, validator=_size(0))
    reserve_percent: int = attrs.field(default=0, validator=attrs.validators.in_(range(100)))
    spans: Spans = Spans.SEPARATE
    arena: int | None = attrs.field(default=None, validator=_size(0))
    arena_head: int = attrs.field(default=0, validator=_size(0))
    arena_tail: int = attrs.field(default=0, validator=_size(0))
    ahead: bool = False
    reclaims: bool = True
    retries: bool = True
    excluded: tuple[tuple[int, int], ...] = attrs.field(default=(), validator=_ranges)
    reentrant: bool = False

    @property
    def asked(self) -> frozenset[Law]:
        """The laws to which the design is held: sizes of a fixed number of bytes do not scale."""
        if self.laws is not None:
            return self.laws
        if self.fit is None or not self.deterministic:
            return frozenset()
        in_bytes = (
            self.two_ended, self.largest_block, self.classes, self.header, self.guard, self.least, self.remainder,
            self.max_size, self.reserve, self.arena, self.excluded, self.arena_head, self.arena_tail,
            self.release.unit == "bytes",
        )  # fmt: skip
        shifts = self.geometry is not Geometry.BUDDY_ABSOLUTE and not self.excluded
        return frozenset([Law.SHIFT] * shifts + [Law.SCALE] * (not any(in_bytes)))
