"""Planted bugs, M1 to M70: each is a small named change to a correct space, after a bug of some real allocator.

The kit must kill every mutant that can exist in this model (``coalloc mutants`` prints which property kills it, after how many
operations, and with how short a program).  ``NOT_APPLICABLE`` lists the others with the reason why they cannot exist here.  If
a bug had an ancestor, the docstring names its project.

A mutant hides its ``violations()``, so the kit has to find the bug from outside.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

import attrs

from coalloc.contract import RETAIN, Contract, Fit
from coalloc.errors import ExhaustionError, InvalidRequestError, NoSpaceError
from coalloc.extent import Extent
from coalloc.space.coalescing import CoalescingSpace
from coalloc.space.holes import BUSY, CACHED, FREED, AddressHoles, ClassHoles, Holes, SizeHoles, Tag, size_class
from coalloc.space.placement import Placement
from coalloc.space.protocol import SpaceStats
from coalloc.space.vmem import VmemSpace
from coalloc.testing.subject import MakeSpace
from coalloc.units import MAX_ADDRESS, round_down, round_up
from coalloc.vm.fittree import FitTree, Node
from coalloc.vm.source import Source

__all__ = ["MUTANTS", "NOT_APPLICABLE", "Mutant", "mutant"]


@attrs.frozen
class Mutant:
    """A planted bug.

    Args:
        number: M1 is 1.
        name: Its class, in words.
        title: What is wrong, and who had it.
        make_space: Makes a space with the bug.
        check: The directed check that finds it where small programs do not; empty where none has to be named.
        only_shown: Whether its only fault is a figure that it shows, or what showing it does, so that its answers are right.
    """

    number: int
    name: str
    title: str
    make_space: MakeSpace
    check: str = ""
    only_shown: bool = False


class _Unchecked:
    """A space without its own checker."""

    def __init__(self, space: object) -> None:
        self._space = space

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("check", "violations"):
            raise AttributeError(name)
        return getattr(self._space, name)


MUTANTS: Final[dict[int, Mutant]] = {}
"""The mutants by number; :func:`mutant` adds one."""
_T = TypeVar("_T", bound=type)


def mutant(number: int, *, check: str = "", only_shown: bool = False, **fixed: Any) -> Callable[[_T], _T]:
    """Plant a bug: a class decorator that enters a space, or a free list for the reference, in :data:`MUTANTS`.

    The class's docstring says what is wrong, and who had it.

    Args:
        number: Its number.
        check: The directed check that finds it.
        only_shown: Whether its answers are right.
        fixed: Arguments that the class is always made with.

    Raises:
        InvalidRequestError: If the number is taken.
    """
    if number in MUTANTS:
        raise InvalidRequestError("number", number, "there is a mutant of this number already")

    def register(kind: _T) -> _T:
        assert kind.__doc__ is not None
        make = functools.partial(_make, kind, **fixed)
        functools.update_wrapper(make, _signature)
        name = re.sub(r"(?<!^)([A-Z]|(?<!\d)\d)", r" \1", kind.__name__.strip("_")).lower()
        MUTANTS[number] = Mutant(number, name, " ".join(kind.__doc__.split()), make, check, only_shown)
        return kind

    return register


def _signature(source: Source, *, kva_limit: int, arena_size: int = 4 << 20) -> None:
    """Show which arguments a mutant takes."""


def _make(kind: type[Any], source: Source, *, kva_limit: int, arena_size: int = 4 << 20, **fixed: Any) -> _Unchecked:
    if issubclass(kind, VmemSpace):
        return _Unchecked(kind(source, kva_limit=kva_limit, import_quantum=arena_size, **fixed))
    if issubclass(kind, CoalescingSpace):
        return _Unchecked(kind(source, kva_limit=kva_limit, arena_size=arena_size, **fixed))
    if not issubclass(kind, Holes):
        return _Unchecked(kind(source, kva_limit=kva_limit, arena_size=arena_size, **fixed))
    fit = Fit.NEXT if fixed.get("fit") is Fit.NEXT else _FITS[next(base for base in kind.__mro__ if base in _FITS)]
    space = CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size, fit=fixed.get("fit", fit))
    space._holes.__class__ = kind
    space._exact = {}  # without the fast paths of the reference, every call comes by the changed free list
    return _Unchecked(space)


_FITS: Final[Mapping[type, Fit]] = {SizeHoles: Fit.BEST, ClassHoles: Fit.INSTANT, AddressHoles: Fit.FIRST}


# --- coalescing and carving ------------------------------------------------------------------------------


_LOST: Final = -3
"""The state of a segment that a bug has forgotten; like every state that is not positive, no neighbour joins with it."""


class _Leaky(SizeHoles):
    """BEST, and a segment can be lost: it is found by no address and shown by no walk, but its neighbours stay apart."""

    __slots__ = ()

    def lose(self, tag: Tag) -> None:
        """Forget a segment that is in no bin."""
        self._forget(tag)
        tag.state = _LOST

    def arena(self, base: int) -> Iterator[Tag]:
        known = self.at.get(base) or next((tag for tag in self.at.values() if self.first(tag).base == base), None)
        tag = self.first(known) if known else self.wall
        while tag is not self.wall:
            if tag.state != _LOST:
                yield tag
            tag = tag.after

    def first(self, tag: Tag) -> Tag:
        """Return the first segment of a segment's arena."""
        while tag.before is not self.wall:
            tag = tag.before
        return tag


class _General(_Leaky):
    """BEST with the general carve, give and take of the base class, which are shorter to change."""

    __slots__ = ()
    give = Holes.give

    def take(self, size: int) -> Tag | None:
        return self.place(Placement(size, 1, 1))

    def place(self, request: Placement) -> Tag | None:
        for hole in self.candidates(request.size):
            start = self.start(request, hole)
            if start >= 0:
                tag = self.carve(hole, start, request.size)
                self.takes += 1
                return tag
        return None

    def start(self, request: Placement, hole: Tag) -> int:
        """Return the place in a hole that admits a request, or -1."""
        return request.start_in(hole.base, hole.size)


class _LeakySpace(CoalescingSpace):
    """The reference, and a segment can be lost."""

    _holes: _Leaky

    def __init__(self, source: Source, **keywords: Any) -> None:
        super().__init__(source, **keywords)
        self._holes.__class__ = _Leaky


@mutant(1)
class _CoalescesOnOneSide(_General):
    """Joins with the hole in front only."""

    __slots__ = ()

    def give(self, tag: Tag) -> Tag:
        tag.state = FREED
        before = tag.before
        if before.state > 0:
            self.remove(before)
            self._absorb(before, tag)
            tag = before
        self.insert(tag)
        return tag


@mutant(2)
class _ForgetsOneSideOfAThreeWayMerge(_General):
    """Joins with both sides, and leaves the hole in front in its bin."""

    __slots__ = ()

    def give(self, tag: Tag) -> Tag:
        before, size = tag.before, tag.before.size
        if before.state <= 0 or tag.after.state <= 0:
            return super().give(tag)
        whole = super().give(tag)
        self.bins[size][before] = None
        return whole


@mutant(3)
class _MergesAcrossArenas(_General):
    """Joins holes of neighbouring arenas."""

    __slots__ = ()

    def give(self, tag: Tag) -> Tag:
        hole = super().give(tag)
        behind = self.at.get(hole.end)
        if hole.after is self.wall and behind is not None and behind.state > 0:
            hole = self.bridge(hole, behind)
        for before in list(self) if hole.before is self.wall else ():
            if before.end == hole.base:
                hole = self.bridge(before, hole)
        return hole

    def bridge(self, low: Tag, high: Tag) -> Tag:
        """Join two holes with a wall between them."""
        self.remove(low)
        self.remove(high)
        self._absorb(low, high)
        self.insert(low)
        return low

    def arena(self, base: int) -> Iterator[Tag]:
        """Yield nothing for an arena whose first segment continues one of the arena before: it was shown there."""
        tag = self.at.get(base)
        return super().arena(base) if tag is not None and tag.before is self.wall else iter(())


@mutant(4)
class _KeepsItsStartWhenJoined(_General):
    """Joins with the hole in front, whose bytes are lost: the start is not moved down."""

    __slots__ = ()

    def give(self, tag: Tag) -> Tag:
        if tag.before.state > 0:
            self.remove(tag.before)
            self.lose(tag.before)
        return super().give(tag)


@mutant(5)
class _ComparesTheRequest(_General):
    """Best fit compares with the request instead of the best so far: the last hole that fits wins (drm_mm, 2006 to 2008)."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        yield from sorted((hole for hole in self if hole.size >= size), key=lambda hole: hole.base, reverse=True)


@mutant(6, fit=Fit.CLASS_BEST)
class _ClassBestSoldAsBest(CoalescingSpace):
    """Takes any hole of the lowest class that fits, and says that it is the smallest (vmem M_BESTFIT)."""

    @property
    def contract(self) -> Contract:
        return attrs.evolve(super().contract, fit=Fit.BEST, tie=None)


@mutant(7, check="powers-of-two")
class _SearchesFromTheNextClass(ClassHoles):
    """Rounds the class up when it searches and down when it enters, with nothing to fall back to (OffsetAllocator PR 14)."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        quanta = size >> self._shift
        sure = size_class(quanta) + (quanta > 32 and quanta & (quanta - 1) != 0)
        for index in sorted(self.bins):
            if index >= sure:
                yield next(reversed(self.bins[index]))


@mutant(8)
class _AcceptsItsWholeClass(ClassHoles):
    """Rounds the class down when it searches, and takes a hole that is smaller than the request (the first fix of PR 14)."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        for index in sorted(self.bins):
            if index >= size_class(size >> self._shift):
                yield next(reversed(self.bins[index]))

    def place(self, request: Placement) -> Tag | None:
        return self.take(request.size)

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        tag = super().carve(hole, start, size)
        tag.size = size
        return tag


@mutant(9)
class _LosesSmallRemainders(_General):
    """Drops what is left of a hole if that is a single quantum."""

    __slots__ = ()

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        left = hole.end - start - size
        tag = super().carve(hole, start, size)
        if left == 4096:
            self.remove(tag.after)
            self.lose(tag.after)
        return tag

    def grow(self, tag: Tag, size: int) -> bool:
        left = tag.after.size - (size - tag.size)
        grown = super().grow(tag, size)
        if grown and left == 4096:
            self.remove(tag.after)
            self.lose(tag.after)
        return grown


@mutant(10)
class _SplitsBelowTheQuantum(CoalescingSpace):
    """Cuts segments that are no multiple of the quantum, and so leaves remainders smaller than it."""

    def alloc(self, size: int) -> int:
        if not 0 < size <= 1 << 40:
            return super().alloc(size)
        return (self._holes.take(size) or self._take_harder(Placement(size, 1, 1))).base


# --- constraints ------------------------------------------------------------------------------------------


@mutant(11)
class _AlignsFromTheArenasBase(_General):
    """Aligns the distance from the arena's base, not the address (genalloc, fixed in 52fbf1134d47)."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        if request.align <= 4096 or request.nocross or request.lo or request.hi < MAX_ADDRESS:
            return request.start_in(hole.base, hole.size)
        arena = self.first(hole).base
        start = request.start_in(hole.base - arena, hole.size)
        return start + arena if start >= 0 else -1


@mutant(12)
class _AlignsAsItsNeighbour(_General):
    """Aligns a request no better than what it lies next to is aligned (TVM's hill climbing, as read)."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        if request.align <= 4096:
            return super().start(request, hole)
        left = next((other.base for other in self if other.end == hole.base), hole.base)
        align = min(request.align, max(left & -left, 4096))
        return attrs.evolve(request, align=align, phase=request.phase % align).start_in(hole.base, hole.size)


@mutant(13)
class _AlignsTheSize(_General):
    """Rounds the size to the alignment, and takes the hole's base as it is (OSTEP's malloc.py)."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        rounded = round_up(request.size, request.align)
        return attrs.evolve(request, align=1, phase=0).start_in(hole.base, hole.size) if rounded <= hole.size else -1


@mutant(14)
class _DropsThePadding(_General):
    """Forgets what alignment leaves in front, instead of returning it as a hole."""

    __slots__ = ()

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        tag = super().carve(hole, start, size)
        if tag is not hole:
            self.remove(hole)
            self.lose(hole)
        return tag


@mutant(15)
class _IgnoresTheLossByAlignment(_General):
    """Compares the size with the hole, and then moves the start up to the alignment."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        wide = request.start_in(hole.base, hole.size + request.align)
        return wide if hole.size >= request.size else -1

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        tag = super().carve(hole, start, size)
        tag.size = size
        return tag


@mutant(16)
class _OvercountsTheAlignment(_General):
    """Asks for size + align - 1, and so passes over a hole that is aligned already (Linux vmalloc's search length)."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        wanted = request.size + request.align - 4096
        return request.start_in(hole.base, hole.size) if hole.size >= wanted else -1


@mutant(17, check="sources")
class _LosesThePhaseAtABoundary(_General):
    """Moves on to the nocross boundary, and does not align again."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        start = attrs.evolve(request, nocross=0).start_in(hole.base, hole.size)
        if (
            start < 0
            or not request.nocross
            or start // request.nocross == (start + request.size - 1) // request.nocross
        ):
            return start
        start = round_up(start, request.nocross)
        return start if start + request.size <= hole.end and start + request.size - 1 <= request.hi else -1


@mutant(18)
class _TakesHiAsExclusive(_General):
    """Treats hi as the first address that may not be held, in one place."""

    __slots__ = ()

    def start(self, request: Placement, hole: Tag) -> int:
        start = request.start_in(hole.base, hole.size)
        return start if start + request.size - 1 < request.hi else -1


# --- the ends of the ranges ----------------------------------------------------------------------------------


@mutant(19, check="great-numbers")
class _WrapsAtTheTop(_General):
    """Computes the end of a hole modulo 2**64, so that the highest one looks inverted (old NetBSD vmem)."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        return (hole for hole in super().candidates(size) if hole.base < hole.end % 2**64)


@mutant(20, check="great-numbers")
class _RoundsToNothing(CoalescingSpace):
    """Rounds a size near the top to 0, and hands out a tiny block (TLSF issue 22, BadAlloc)."""

    def alloc(self, size: int) -> int:
        if type(size) is int and size > 2**62:
            size = max(round_up(size, 4096) % 2**63, 1)
        return super().alloc(size)


@mutant(21, check="sources")
class _TruncatesTo32Bits(_General):
    """Looks for the neighbour with the low 32 bits of the address (drm_mm, genalloc): wrong above 4 GiB only."""

    __slots__ = ()

    def give(self, tag: Tag) -> Tag:
        tag.state = FREED
        before, behind = tag.before, tag.after
        if before.state > 0 and before.end == tag.base % 2**32:
            self.remove(before)
            self._absorb(before, tag)
            tag = before
        if behind.state > 0 and behind.base == tag.end % 2**32:
            self.remove(behind)
            self._absorb(tag, behind)
        self.insert(tag)
        return tag


@mutant(22, check="ends")
class _GrantsNothing(CoalescingSpace):
    """Answers a request for 0 bytes with an address that it also gives to the next."""

    def alloc(self, size: int) -> int:
        return min((hole.base for hole in self._holes), default=0) if size == 0 else super().alloc(size)


@mutant(23)
class _TakesAddress0ForFailure(CoalescingSpace):
    """Uses 0 to say that nothing was found (NetBSD vmem, FreeBSD's quantum caches)."""

    def alloc(self, size: int) -> int:
        base = super().alloc(size)
        if base == 0:
            raise NoSpaceError(self.size_of(base), free=0, largest_hole=0, mapped=0, kva_limit=self.kva_limit)
        return base


# --- handles -----------------------------------------------------------------------------------------------


@mutant(24)
class _FreesTwice(CoalescingSpace):
    """Takes a buffer back a second time."""

    def free(self, base: int) -> None:
        tag = self._at.get(base)
        if tag.state in (FREED, CACHED) if tag else base in self._holes.freed:
            self._holes.insert(Tag(base, 4096, FREED))
            return
        super().free(base)


@mutant(25)
class _FreesFromInside(_LeakySpace):
    """Takes an address inside a buffer for its base, and frees the tail."""

    def free(self, base: int) -> None:
        known = self._at.get(base) if type(base) is int else self._holes.wall
        for tag in self._at.values() if known is None or known.state > 0 else ():
            if tag.state == BUSY and tag.base < base < tag.end:
                kept = round_up(base - tag.base, 4096)
                if kept < tag.size:
                    self._holes.lose(self._holes._cut(tag, kept))
                return
        super().free(base)


# --- failure paths and the limit -----------------------------------------------------------------------------


@mutant(27, check="powers-of-two")
class _RunsOutOfTags(_General):
    """Has tags for four holes, and finds out in the middle of a carve (OffsetAllocator issue 3)."""

    __slots__ = ()

    def insert(self, hole: Tag) -> None:
        listed = set(self)
        if len(listed) >= 4:
            for tag in [tag for tag in self.at.values() if tag.state > 0 and tag not in listed]:
                self.lose(tag)
            raise NoSpaceError(hole.size, free=0, largest_hole=0, mapped=0, kva_limit=1)
        super().insert(hole)


@mutant(28)
class _DoesNotRollBack(_LeakySpace):
    """Loses a hole on the way to a refusal."""

    def alloc(self, size: int) -> int:
        try:
            return super().alloc(size)
        except ExhaustionError:
            for hole in list(self._holes)[:1]:
                self._holes.remove(hole)
                self._holes.lose(hole)
            raise


@mutant(29)
class _ForgetsOneRefund(CoalescingSpace):
    """Charges an arena before it is mapped, and does not refund it when the source refuses (sys_pipe needs two refunds)."""

    def _import_for(self, request: Placement) -> Tag | None:
        tag = super()._import_for(request)
        if tag is None and self._arenas.mapped + request.size <= self._arenas.kva_limit:
            self._arenas.mapped += request.size
        return tag


@mutant(30)
class _ChargesUnrounded(CoalescingSpace):
    """Compares the unrounded size with the limit, and maps the rounded one."""

    def _import_for(self, request: Placement) -> Tag | None:
        limit = self._arenas.kva_limit
        self._arenas.kva_limit = round_up(limit, self._arenas.granule)
        try:
            return super()._import_for(request)
        finally:
            self._arenas.kva_limit = limit


@mutant(31)
class _StopsOneShortOfTheLimit(CoalescingSpace):
    """Asks for less than the limit where at most would do."""

    def _import_for(self, request: Placement) -> Tag | None:
        self._arenas.kva_limit -= 1
        try:
            return super()._import_for(request)
        finally:
            self._arenas.kva_limit += 1


# --- arenas ---------------------------------------------------------------------------------------------------


@mutant(35)
class _ReleasesWhatIsInUse(CoalescingSpace):
    """Takes an arena for free if it begins with a hole of more than half its size."""

    def _is_idle(self, arena: int) -> bool:
        hole = self._at.get(arena)
        return hole is not None and hole.state > 0 and 2 * hole.size > self._arenas.size_at[arena]

    def _release_arena(self, arena: int) -> None:
        self._at[arena].after.before = self._holes.wall
        super()._release_arena(arena)


@mutant(36)
class _ReleasesByTheSizeAlone(CoalescingSpace):
    """Never finds an arena free that has been carved: the test compares with a hole that a guard has shortened (bpo-32759)."""

    def _is_idle(self, arena: int) -> bool:
        hole = self._at.get(arena)
        return hole is not None and hole.state > 0 and hole.size == self._arenas.size_at[arena] - 4096


@mutant(37)
class _ReleasesTheHole(CoalescingSpace):
    """Gives back the range of the last free, not the arena that was imported."""

    last: int

    def free(self, base: int) -> None:
        self.last = self.size_of(base)
        super().free(base)

    def _release_arena(self, arena: int) -> None:
        size = self._arenas.size_at[arena]
        self._arenas.source.unmap(arena, min(getattr(self, "last", size), size))
        super()._release_arena(arena)


@mutant(38)
class _HasNoHysteresis(CoalescingSpace):
    """Says that it keeps an idle arena, and gives back every one at once."""

    @property
    def contract(self) -> Contract:
        return attrs.evolve(super().contract, release=RETAIN(1))

    def _settle(self, arena: int) -> None:
        del arena
        self._release_idle(keep=0)


@mutant(39)
class _KeepsAnArenaForEachSize(CoalescingSpace):
    """Keeps idle arenas without bound (RMM issue 845)."""

    def _settle(self, arena: int) -> None:
        pass


@mutant(40)
class _ImportsForEver(CoalescingSpace):
    """Imports again and again for a constraint that no arena meets (vmem M_WAITOK)."""

    def _take_harder(self, request: Placement) -> Tag:
        tag = None
        while request.lo or request.nocross or request.hi < MAX_ADDRESS:
            tag = self._import_for(request)
            if tag is not None or request.size > self._arenas.kva_limit - self._arenas.mapped:
                break
        return tag or super()._take_harder(request)


@mutant(42)
class _IgnoresLaterPrefixes(AddressHoles):
    """Does not reset its search for each arena: a hole at the base of a later one is not seen (genalloc 62e931fac45b)."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        lowest = next(iter(self.tree), 0)
        return (hole for hole in super().candidates(size) if hole.base == lowest or hole.before is not self.wall)


# --- next fit ---------------------------------------------------------------------------------------------------


@mutant(43, fit=Fit.NEXT)
class _CursorPointsIntoAHole(AddressHoles):
    """Leaves the cursor inside a hole that was joined over it, and passes that hole over for ever."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        cursor = self._cursor or 0
        return (hole for hole in super().candidates(size) if not hole.base < cursor < hole.end)


@mutant(44, fit=Fit.NEXT)
class _DoesNotWrap(AddressHoles):
    """Looks from the cursor to the top, and no further."""

    __slots__ = ()

    def candidates(self, size: int) -> Iterator[Tag]:
        return (hole for hole in super().candidates(size) if hole.base >= (self._cursor or 0))


@mutant(45, fit=Fit.NEXT)
class _SkipsRounding(CoalescingSpace):
    """Carves the size as it was asked for on one path (FreeBSD vmem's next fit, as read)."""

    def alloc(self, size: int) -> int:
        if type(size) is int and 0 < size <= 1 << 40:
            tag = self._holes.take(size)
            if tag is not None:
                return tag.base
        return super().alloc(size)


# --- indices ----------------------------------------------------------------------------------------------------


class _StaleTree(FitTree):
    """A tree that does not tell the nodes above when a length goes."""

    __slots__ = ()

    def insert(self, key: int, length: int) -> None:
        super().insert(key, length)
        self._forget_above(key)

    def shift(self, key: int, to: int, length: int) -> None:
        super().shift(key, to, length)
        self._forget_above(to)

    def _forget_above(self, key: int) -> None:
        node: Node | None = self._nodes[key].parent
        while node is not None:
            node.largest = node.length
            node = node.parent


@mutant(46)
class _StoresAStaleMaximum(AddressHoles):
    """Does not propagate the largest length of a subtree, so that a large hole is not seen."""

    __slots__ = ()

    def insert(self, hole: Tag) -> None:
        self.tree.__class__ = _StaleTree
        super().insert(hole)


@mutant(47)
class _LeavesEmptyBins(ClassHoles):
    """Does not clear the bit of a bin that has become empty, and pops from it."""

    __slots__ = ()

    def remove(self, hole: Tag) -> None:
        super().remove(hole)
        self.bins.setdefault(size_class(hole.size >> self._shift), {})

    def candidates(self, size: int) -> Iterator[Tag]:
        for index in sorted(self.bins):
            if index > size_class(size >> self._shift):
                yield list(self.bins[index])[-1]
        yield from super().candidates(size)


@mutant(48)
class _LeavesTheOldKey(_General):
    """Changes the size of a hole that is in a tree ordered by size, without taking it out first."""

    __slots__ = ()

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        if start > hole.base or size == hole.size:
            return super().carve(hole, start, size)
        bin_ = self.bins[hole.size]
        del bin_[hole]
        bin_[self._cut(hole, size)] = None
        hole.state = BUSY
        return hole

    def candidates(self, size: int) -> Iterator[Tag]:
        return (hole for hole in super().candidates(size) if hole.size >= size)

    def remove(self, hole: Tag) -> None:
        for bin_ in self.bins.values():
            bin_.pop(hole, None)


# --- resize and reserve -------------------------------------------------------------------------------------------


@mutant(52)
class _LeavesAStaleSize(_LeakySpace):
    """Grows a buffer in place, and does not write down its new size."""

    def _grow(self, tag: Tag, size: int) -> bool:
        old = tag.size
        grown = super()._grow(tag, size)
        if grown:
            self._holes.lose(self._holes._cut(tag, old))
        return grown


@mutant(53)
class _FreesBeforeItHas(CoalescingSpace):
    """Frees the old buffer before it has the new one, and so loses it when that is refused."""

    def resize(self, base: int, size: int) -> int:
        if size <= self.size_of(base):
            return super().resize(base, size)
        self.free(base)
        return self.alloc(size)


@mutant(55)
class _LosesOneSideOfAReserve(_LeakySpace):
    """Reserves in the middle of a hole, and forgets what lies behind (supercollider issue 6586)."""

    def reserve(self, extent: Extent) -> None:
        super().reserve(extent)
        behind = self._at.get(extent.end)
        if behind is not None and behind.state > 0:
            self._holes.remove(behind)
            self._holes.lose(behind)


@mutant(56)
class _ReservesBeyondItsHole(CoalescingSpace):
    """Looks at the start of a reserved range only, since start + size may have wrapped."""

    def reserve(self, extent: Extent) -> None:
        for hole in self._holes:
            if hole.base <= extent.base < hole.end:
                tag = self._holes.carve(hole, extent.base, min(extent.size, hole.end - extent.base))
                tag.size = extent.size
                self._reserves += 1
                return
        super().reserve(extent)


# --- caches ---------------------------------------------------------------------------------------------------------


@mutant(58, quantum_cache=8192)
class _MixesItsClasses(CoalescingSpace):
    """Looks in the cache by the size asked for, rounded down, and enters by the size rounded up."""

    def alloc(self, size: int) -> int:
        stack = self._cache.get(round_down(size, 4096)) if type(size) is int and 4096 < size <= 8192 else None
        if stack:
            tag = stack.pop()
            self._cache_hits += 1
            tag.state = BUSY
            tag.size = round_up(size, 4096)
            return tag.base
        return super().alloc(size)


@mutant(59, quantum_cache=8192)
class _DoesNotDrain(CoalescingSpace):
    """Refuses with buffers in its cache."""

    def _drain(self) -> None:
        pass


@mutant(60, quantum_cache=8192)
class _ReusesBeforeTheFlush(CoalescingSpace):
    """Has a freed buffer in its cache and in a hole at the same time."""

    def free(self, base: int) -> None:
        tag = self._tag_of(base)
        super().free(base)
        if tag.state == CACHED:
            self._holes.give(tag)


# --- figures ---------------------------------------------------------------------------------------------------------


@mutant(63, only_shown=True)
class _ForgetsThePeak(CoalescingSpace):
    """Does not raise the peak when an arena is imported."""

    def stats(self) -> SpaceStats:
        figures = super().stats()
        return attrs.evolve(figures, peak_mapped=min(figures.peak_mapped, self._arena_size))


@mutant(64, check="sources")
class _CallsTheClassFloorExact(VmemSpace):
    """Reports the floor of the highest class as the largest hole, and says that its figures are exact."""

    @property
    def contract(self) -> Contract:
        return attrs.evolve(super().contract, exact_stats=True)


@attrs.frozen
class _WorstForOne(SpaceStats):
    """Figures whose fragmentation is 1 for a single perfect hole (buddy_alloc)."""

    @property
    def external_fragmentation(self) -> float:
        return 1.0 if self.holes == 1 else super().external_fragmentation


@mutant(65, only_shown=True)
class _FragmentedWithOneHole(CoalescingSpace):
    """Reports the worst fragmentation for one perfect hole (buddy_alloc; RMM and extfrag in other ways)."""

    def stats(self) -> SpaceStats:
        return _WorstForOne(**attrs.asdict(super().stats()))


# --- the rest ----------------------------------------------------------------------------------------------------------


@mutant(66, check="determinism")
class _OrderLeaks(CoalescingSpace):
    """Lets something that the program does not say, such as the order of a hash table, decide between equal holes."""

    made: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, source: Source, **keywords: Any) -> None:
        super().__init__(source, **keywords)
        self.odd = next(self.made) % 2

    @property
    def contract(self) -> Contract:
        return attrs.evolve(super().contract, tie=None)

    def alloc(self, size: int) -> int:
        bins = self._holes.bins.values()  # type: ignore[attr-defined]
        for bin_ in [bin_ for bin_ in bins if len(bin_) > 1] if self.odd else ():
            for hole in sorted(bin_, key=operator.attrgetter("base"), reverse=True):
                bin_[hole] = bin_.pop(hole)
        return super().alloc(size)


@mutant(67)
class _AlwaysRefuses(CoalescingSpace):
    """Refuses everything, which most test kits accept."""

    def alloc(self, size: int) -> int:
        raise NoSpaceError(round_up(size, 4096), free=0, largest_hole=0, mapped=0, kva_limit=self.kva_limit)


@mutant(68)
class _NeverReuses(_LeakySpace):
    """Forgets what is freed, so that nothing overlaps, and it dies early."""

    def free(self, base: int) -> None:
        tag = self._tag_of(base)
        tag.state = FREED
        self._holes.lose(tag)


@mutant(69)
class _GrantsLess(CoalescingSpace):
    """Succeeds with a shorter range where there is no room for the whole."""

    def alloc(self, size: int) -> int:
        try:
            return super().alloc(size)
        except ExhaustionError:
            if size > 4096:
                return self.alloc(size // 2)
            raise


@mutant(70, check="growth")
class _WalksAllHoles(CoalescingSpace):
    """Looks at every hole on every call (drm_buddy's free list)."""

    def alloc(self, size: int) -> int:
        lowest = -1
        for hole in self._holes:
            if hole.size >= size:
                lowest = hole.base
        del lowest
        return super().alloc(size)


NOT_APPLICABLE: Final[Mapping[int, str]] = {
    26: "a buffer's handle is its address, which is the same when it is handed out again: there is no stale handle to tell",
    32: "one thread calls a space, so nothing happens between check and charge; it is a matter of schedules",
    33: "the limit of a space is fixed, and what it limits is what is imported",
    34: "the limit of a space is fixed",
    41: "one thread calls a space, so no other makes room during an import; it is a matter of schedules",
    49: "arenas do not grow",
    50: "arenas do not shrink",
    51: "arenas do not grow",
    54: "a resize promises no alignment, so it has none to lose",
    57: "there are no guard gaps",
    61: "nobody sleeps for space; it is a matter of schedules",
    62: "nobody sleeps for space; it is a matter of schedules",
}
"""Why the other mutants of the list cannot exist in this model, by number."""
