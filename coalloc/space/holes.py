"""The free list: boundary tags of all segments, and the holes among them by size or by address; keeps I1, I3, I4 and I5.

A *tag* describes a segment: its base, its size, its state, and the tags *before* and *after* it in its arena.  So a free finds
its neighbours by following two links.  The tags of each arena begin and end at the *wall*, one tag that is neither busy nor
free.  No hole coalesces across the wall (I4), and a hole with the wall on both sides is a whole arena.  ``at`` finds the tag of
every segment by its base.

Each fit has the index that it needs:

* BEST: one *bin* per exact size, a dict used as a stack (``popitem`` gives the newest hole, ``del`` any other), beside the
  sorted list of the sizes that have a bin.  Of several smallest holes the newest is taken.  Measurement decided this: taking
  the lowest needs 2.9 times as long and leaves no less fragmentation (python -m benchmarks.tricks; docs/performance.md).
* INSTANT, CLASS_BEST: the same, with one bin per size class of vmem.
* FIRST, NEXT: the lengths in an address-ordered tree that knows the largest length of each subtree.

Freed addresses.  The state of a tag says whether its buffer was freed.  When a neighbour absorbs the tag, its base is kept in
``freed``.  So a second free can be told from a wild one.

Sizes are bytes, multiples of the quantum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from coalloc.contract import Fit
from coalloc.space.placement import Placement
from coalloc.vm.fittree import FitTree

__all__ = [
    "BUSY",
    "CACHED",
    "FREED",
    "HOLE",
    "WALL",
    "AddressHoles",
    "ClassHoles",
    "Holes",
    "SizeHoles",
    "Tag",
    "make_holes",
    "size_class",
]

BUSY: Final = 0
CACHED: Final = -1
WALL: Final = -2
HOLE: Final = 1
"""Free, and its base was not handed out since the tag was created."""
FREED: Final = 2
"""Free, and its base is that of a freed buffer.  The two states of a hole are positive, and no other state is."""


class Tag:
    """The boundary tag of one segment; a tag without neighbours is linked to itself."""

    __slots__ = ("after", "base", "before", "size", "state")

    def __init__(self, base: int, size: int, state: int, before: Tag | None = None, after: Tag | None = None) -> None:
        self.base = base
        self.size = size
        self.state = state
        self.before = before or self
        self.after = after or self

    @property
    def end(self) -> int:
        """First address behind the segment."""
        return self.base + self.size


class Holes(ABC):
    """The segments of one space, and the index of its holes."""

    __slots__ = ("at", "coalesces", "freed", "takes", "wall")

    def __init__(self) -> None:
        self.at: dict[int, Tag] = {}
        self.freed: set[int] = set()
        """Bases of freed buffers whose tags are gone; at some of them a segment may begin again."""
        self.wall = Tag(-1, 0, WALL)
        self.takes = 0
        """Requests carved so far."""
        self.coalesces = 0
        """Number of times that two neighbours were coalesced so far."""

    # --- what an index must do -----------------------------------------------------------------------

    @property
    @abstractmethod
    def visits(self) -> int:
        """Holes that searches have looked at so far."""

    @property
    @abstractmethod
    def largest(self) -> int:
        """Bytes of the largest hole, 0 if there is none."""

    @abstractmethod
    def insert(self, hole: Tag) -> None:
        """Enter a hole in the index, as the newest."""

    @abstractmethod
    def remove(self, hole: Tag) -> None:
        """Strike a hole from the index; its base and size must be those with which it was entered."""

    @abstractmethod
    def candidates(self, size: int) -> Iterator[Tag]:
        """Yield the holes of at least ``size`` in the order of the fit; the caller may not change holes meanwhile."""

    @abstractmethod
    def __iter__(self) -> Iterator[Tag]:
        """Yield every hole of the index in any order; a hole that the index holds twice comes twice."""

    @abstractmethod
    def index_faults(self) -> list[str]:
        """Return what is inconsistent within the index, apart from the question which holes belong in it."""

    # --- arenas ----------------------------------------------------------------------------------------

    def add(self, base: int, size: int) -> None:
        """Enter an arena: one hole between two walls."""
        hole = self.at[base] = Tag(base, size, HOLE, self.wall, self.wall)
        self.insert(hole)

    def drop(self, hole: Tag) -> None:
        """Strike an arena that is one hole."""
        self.remove(hole)
        self._forget(hole)

    def _forget(self, tag: Tag) -> None:
        """Remove a tag from the table, and remember its base if it was freed."""
        del self.at[tag.base]
        if tag.state == FREED:
            self.freed.add(tag.base)

    # --- operations ------------------------------------------------------------------------------------

    def take(self, size: int) -> Tag | None:
        """Carve ``size`` from the low end of the hole that the fit chooses."""
        for hole in self.candidates(size):
            self.takes += 1
            return self.carve(hole, hole.base, size)
        return None

    def place(self, request: Placement) -> Tag | None:
        """Carve a constrained request at the lowest place of the first hole, in the order of the fit, that admits it."""
        for hole in self.candidates(request.size):
            start = request.start_in(hole.base, hole.size)
            if start >= 0:
                self.takes += 1
                return self.carve(hole, start, request.size)
        return None

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        """Make [start, start + size) of a hole busy; the rests below and above stay holes, and the upper one is newer."""
        self.remove(hole)
        tag, end = hole, hole.end
        if start > hole.base:
            tag = self._cut(hole, start - hole.base)
            self.insert(hole)
        if end > start + size:
            self.insert(self._cut(tag, size))
        tag.state = BUSY
        return tag

    def _cut(self, tag: Tag, size: int) -> Tag:
        """Cut a segment behind its first ``size`` bytes, and return the tag of the rest, a hole that is not yet indexed."""
        base, after = tag.base + size, tag.after
        self.at[base] = tag.after = after.before = rest = Tag(base, tag.size - size, HOLE, tag, after)
        tag.size = size
        return rest

    def give(self, tag: Tag) -> Tag:
        """Make a segment free, joined with its free neighbours; return the hole that it is now part of."""
        after = tag.after
        if after.state > 0:
            self.remove(after)
            self._absorb(tag, after)
            self.coalesces += 1
        tag.state = FREED
        before = tag.before
        if before.state > 0:
            self.remove(before)
            self._absorb(before, tag)
            self.coalesces += 1
            tag = before
        self.insert(tag)
        return tag

    def _absorb(self, tag: Tag, after: Tag) -> None:
        """Extend a segment over the range of the segment behind it."""
        tag.size += after.size
        tag.after = after.after
        after.after.before = tag
        self._forget(after)

    def shrink(self, tag: Tag, size: int) -> None:
        """Free the part of a busy segment beyond its first ``size`` bytes."""
        rest = self._cut(tag, size)
        self.give(rest)
        rest.state = HOLE  # it is a hole whose base was never handed out

    def grow(self, tag: Tag, size: int) -> bool:
        """Grow a busy segment to ``size`` bytes if the hole behind it suffices, and return whether it did."""
        behind, more = tag.after, size - tag.size
        if behind.state <= 0 or behind.size < more:
            return False
        self.remove(behind)
        if behind.size > more:
            self.insert(self._cut(behind, more))
        self._absorb(tag, behind)
        return True

    # --- what it holds -----------------------------------------------------------------------------------

    def arena(self, base: int) -> Iterator[Tag]:
        """Yield the segments of an arena by following the links."""
        return self._follow(self.at.get(base, self.wall), set())

    def _follow(self, tag: Tag, seen: set[Tag]) -> Iterator[Tag]:
        """Yield a tag and those after it, up to the wall or to a tag that was seen before, so that a loop of links ends."""
        while tag is not self.wall and tag not in seen:
            seen.add(tag)
            yield tag
            tag = tag.after

    def linked(self, bases: Iterable[int]) -> tuple[list[tuple[Tag, int]], list[str]]:
        """Return the tags, each with the base of its arena, and what is wrong with the links.

        The tags are found by following the links from the first tag of each arena, even if the table lacks that tag.  Where
        links are wrong, the tags are those of the table, by address, each in the nearest arena below it.

        Args:
            bases: The bases of the arenas, in ascending order.
        """
        arenas = list(bases)
        known: set[Tag] = set()
        ahead = list(self.at.values())
        while ahead:
            tag = ahead.pop()
            if tag is not self.wall and tag not in known:
                known.add(tag)
                ahead += (tag.before, tag.after)
        first = self.at | {tag.base: tag for tag in known if tag.before is self.wall}
        inside: set[Tag] = set()
        tags = [(tag, base) for base in arenas for tag in self._follow(first.get(base, self.wall), inside)]
        faults = [
            f"the tag {side} {tag.base:#x} is not linked back"
            for tag, _ in tags
            for side, other, back in (
                ("before", tag.before, tag.before.after),
                ("behind", tag.after, tag.after.before),
            )
            if other is not self.wall and back is not tag
        ] + [
            f"the tag of {tag.base:#x} is left out by its neighbours"
            for tag in known - inside
            if tag.before in inside or tag.after in inside
        ]
        if faults:
            table = sorted(set(self.at.values()), key=lambda tag: tag.base)
            tags = [(tag, arenas[max(bisect_right(arenas, tag.base) - 1, 0)]) for tag in table if arenas]
        return tags, faults


class SizeHoles(Holes):
    """BEST: the newest of the smallest holes that fit.

    An empty bin stays until a search finds it, since a size that was freed once is likely to be freed again.

    Complexity: ``take`` and ``give`` are O(log d) for d sizes with a bin, plus moving at most d list items.  An exact fit, and
    a free into an existing bin, are O(1).  Searches strike each empty bin once.
    """

    __slots__ = ("_passed_over", "bins", "sizes")

    def __init__(self) -> None:
        super().__init__()
        self.bins: dict[int, dict[Tag, None]] = {}
        self.sizes: list[int] = []
        self._passed_over = 0

    @property
    def visits(self) -> int:
        """Holes looked at: those that were taken, and those that did not meet a constraint."""
        return self.takes + self._passed_over

    @property
    def largest(self) -> int:
        """Bytes of the largest hole, 0 if there is none."""
        return next((size for size in reversed(self.sizes) if self.bins[size]), 0)

    def insert(self, hole: Tag) -> None:
        """Enter a hole in the index, as the newest."""
        size = hole.size
        bin_ = self.bins.get(size)
        if bin_ is None:
            self.bins[size] = {hole: None}
            insort(self.sizes, size)
        else:
            bin_[hole] = None

    def remove(self, hole: Tag) -> None:
        """Strike a hole from the index."""
        del self.bins[hole.size][hole]

    def candidates(self, size: int) -> Iterator[Tag]:
        """Yield the holes of at least ``size``, the smallest first and of one size the newest first."""
        sizes, bins = self.sizes, self.bins
        index = bisect_left(sizes, size)
        while index < len(sizes):
            bin_ = bins[sizes[index]]
            if not bin_:
                del bins[sizes.pop(index)]
                continue
            for hole in reversed(bin_):
                yield hole
                self._passed_over += 1  # reached only if the caller wants another hole
            index += 1

    # The two methods below do what those of the base class do, with the index code inlined.  On churn at 1,000 live
    # buffers the inherited ones take 1.8 times as long (python -m benchmarks.tricks; docs/performance.md).

    def take(self, size: int) -> Tag | None:
        """Carve ``size`` from the low end of the newest of the smallest holes that fit."""
        sizes, bins = self.sizes, self.bins
        index = bisect_left(sizes, size)
        while index < len(sizes):
            bin_ = bins[sizes[index]]
            if bin_:
                break
            del bins[sizes.pop(index)]
        else:
            return None
        hole = bin_.popitem()[0]
        left = hole.size - size
        if left:
            base = hole.base + size
            after = hole.after
            self.at[base] = hole.after = after.before = rest = Tag(base, left, HOLE, hole, after)
            hole.size = size
            equals = bins.get(left)
            if equals is None:
                bins[left] = {rest: None}
                insort(sizes, left)
            else:
                equals[rest] = None
        hole.state = BUSY
        self.takes += 1
        return hole

    def give(self, tag: Tag) -> Tag:
        """Make a segment free, joined with its free neighbours; return the hole that it is now part of."""
        bins = self.bins
        before, after = tag.before, tag.after
        if after.state > 0:
            del bins[after.size][after]
            tag.size += after.size
            del self.at[after.base]
            if after.state == FREED:
                self.freed.add(after.base)
            tag.after = after = after.after
            after.before = tag
            self.coalesces += 1
        if before.state > 0:
            del bins[before.size][before]
            before.size += tag.size
            del self.at[tag.base]
            self.freed.add(tag.base)
            before.after = after
            after.before = before
            self.coalesces += 1
            tag = before
        else:
            tag.state = FREED
        size = tag.size
        equals = bins.get(size)
        if equals is None:
            bins[size] = {tag: None}
            insort(self.sizes, size)
        else:
            equals[tag] = None
        return tag

    def __iter__(self) -> Iterator[Tag]:
        """Yield every hole in a bin."""
        return chain.from_iterable(self.bins.values())

    def index_faults(self) -> list[str]:
        """Compare the list of sizes with the bins, and the bins with the sizes of their holes."""
        faults = [] if self.sizes == sorted(self.bins) else ["the list of sizes differs from the bins"]
        return faults + [
            f"hole {hole.base:#x}+{hole.size} is in the bin of {size}"
            for size, bin_ in self.bins.items()
            for hole in bin_
            if hole.size != size
        ]


_EXACT_CLASSES: Final = 32
"""Sizes of up to this many quanta have a class of their own (FreeBSD VMEM_OPTVALUE)."""


def size_class(n_quanta: int) -> int:
    """Return the size class of a number of quanta (>= 1): exact up to 32, then one per power of two (B32).

    Source: FreeBSD subr_vmem.c bt_freehead_tofree.

    >>> [size_class(n) for n in (1, 32, 33, 63, 64, 127, 128)]
    [0, 31, 31, 31, 32, 32, 33]
    """
    return n_quanta - 1 if n_quanta <= _EXACT_CLASSES else n_quanta.bit_length() + 25


def _class_floor(index: int) -> int:
    """Return the smallest number of quanta in a class."""
    return index + 1 if index < _EXACT_CLASSES else 1 << (index - 26)


class ClassHoles(Holes):
    """INSTANT and CLASS_BEST: holes by size class, the newest of a class first.

    Args:
        quantum: Bytes of a quantum.
        instant: Whether to search first the classes whose members all fit, and in those only the newest hole.

    Complexity: INSTANT O(c) for c classes (90 for 64-bit sizes); CLASS_BEST, and INSTANT's fallback, O(members of the
    request's class + c).
    """

    __slots__ = ("_instant", "_shift", "_visits", "bins")

    def __init__(self, quantum: int, *, instant: bool) -> None:
        super().__init__()
        self.bins: dict[int, dict[Tag, None]] = {}
        self._shift = quantum.bit_length() - 1
        self._instant = instant
        self._visits = 0

    @property
    def visits(self) -> int:
        """Holes looked at."""
        return self._visits

    @property
    def largest(self) -> int:
        """Bytes of the largest hole, 0 if there is none: the largest of the highest class."""
        return max(hole.size for hole in self.bins[max(self.bins)]) if self.bins else 0

    def insert(self, hole: Tag) -> None:
        """Enter a hole in the index, as the newest."""
        self.bins.setdefault(size_class(hole.size >> self._shift), {})[hole] = None

    def remove(self, hole: Tag) -> None:
        """Strike a hole from the index."""
        index = size_class(hole.size >> self._shift)
        bin_ = self.bins[index]
        del bin_[hole]
        if not bin_:
            del self.bins[index]

    def candidates(self, size: int) -> Iterator[Tag]:
        """Yield the holes of at least ``size`` in the order of the fit."""
        n_quanta = size >> self._shift
        lowest = size_class(n_quanta)
        present = sorted(index for index in self.bins if index >= lowest)
        if self._instant:
            sure = lowest if n_quanta == _class_floor(lowest) else lowest + 1
            for index in present:
                if index >= sure:
                    self._visits += 1
                    yield next(reversed(self.bins[index]))
        for index in present:
            for hole in reversed(self.bins[index]):
                self._visits += 1
                if hole.size >= size:
                    yield hole

    def __iter__(self) -> Iterator[Tag]:
        """Yield every hole in a bin."""
        return chain.from_iterable(self.bins.values())

    def index_faults(self) -> list[str]:
        """Look for empty bins, and holes in the bin of another class."""
        faults = [f"the bin of class {index} is empty" for index, bin_ in self.bins.items() if not bin_]
        return faults + [
            f"hole {hole.base:#x} is in the bin of class {index}"
            for index, bin_ in self.bins.items()
            for hole in bin_
            if size_class(max(hole.size >> self._shift, 1)) != index
        ]


class AddressHoles(Holes):
    """FIRST and NEXT: holes by address.

    Args:
        cursor: Where NEXT starts; None makes it FIRST, which always starts at the bottom.

    Complexity: O(log h) for h holes; every hole that does not meet a constraint costs another O(log h).
    """

    __slots__ = ("_cursor", "tree")

    def __init__(self, cursor: int | None = None) -> None:
        super().__init__()
        self.tree = FitTree()
        self._cursor = cursor

    @property
    def visits(self) -> int:
        """Tree nodes looked at."""
        return self.tree.visits

    @property
    def largest(self) -> int:
        """Bytes of the largest hole, 0 if there is none."""
        return self.tree.largest

    def insert(self, hole: Tag) -> None:
        """Enter a hole in the index."""
        self.tree.insert(hole.base, hole.size)

    def remove(self, hole: Tag) -> None:
        """Strike a hole from the index."""
        self.tree.remove(hole.base)

    def take(self, size: int) -> Tag | None:
        """Carve as the base class does; NEXT's cursor moves to the end of what was carved."""
        return self._moved_on(super().take(size))

    # In the next two methods a hole that begins elsewhere keeps its node of the tree, and one that only ends elsewhere its
    # place there.  In a replay of the bundled build, first fit is 1.1 times as fast.

    def carve(self, hole: Tag, start: int, size: int) -> Tag:
        """Make [start, start + size) of a hole busy, as the base class does."""
        if start > hole.base or size == hole.size:
            return super().carve(hole, start, size)
        rest = self._cut(hole, size)
        self.tree.shift(start, rest.base, rest.size)
        hole.state = BUSY
        return hole

    def give(self, tag: Tag) -> Tag:
        """Make a segment free, joined with its free neighbours; return the hole that it is now part of."""
        before, after = tag.before, tag.after
        if after.state > 0:
            if before.state > 0:
                self.remove(after)
            else:
                self.tree.shift(after.base, tag.base, tag.size + after.size)
            self._absorb(tag, after)
            self.coalesces += 1
        elif before.state <= 0:
            self.insert(tag)
        tag.state = FREED
        if before.state > 0:
            self.tree.update(before.base, before.size + tag.size)
            self._absorb(before, tag)
            self.coalesces += 1
            tag = before
        return tag

    def place(self, request: Placement) -> Tag | None:
        """Carve as the base class does; NEXT's cursor moves to the end of what was carved."""
        return self._moved_on(super().place(request))

    def _moved_on(self, tag: Tag | None) -> Tag | None:
        if tag is not None and self._cursor is not None:
            self._cursor = tag.base + tag.size
        return tag

    def candidates(self, size: int) -> Iterator[Tag]:
        """Yield the holes of at least ``size`` from the cursor upwards, then from the bottom up to the cursor."""
        if self._cursor is None:
            return self._between(size, None, None)
        return chain(self._between(size, self._cursor, None), self._between(size, None, self._cursor))

    def _between(self, size: int, low: int | None, high: int | None) -> Iterator[Tag]:
        base = self.tree.first_fit(size, low)
        while base is not None and (high is None or base < high):
            yield self.at[base]
            base = self.tree.first_fit(size, base + 1)

    def __iter__(self) -> Iterator[Tag]:
        """Yield the segment at every address in the tree."""
        return (self.at.get(base, self.wall) for base in self.tree)

    def index_faults(self) -> list[str]:
        """Check the tree (order, links and stored maxima) and the lengths in it."""
        return self.tree.faults() + [
            f"hole {base:#x} has {self.tree[base]} bytes in the tree"
            for base in self.tree
            if base in self.at and self.at[base].size != self.tree[base]
        ]


def make_holes(fit: Fit, quantum: int) -> Holes:
    """Return an empty free list for a fit.

    >>> holes = make_holes(Fit.BEST, quantum=1)
    >>> holes.add(0, 8), holes.add(100, 4)
    (None, None)
    >>> holes.take(3).base, holes.take(8).base, holes.take(2)
    (100, 0, None)
    """
    if fit is Fit.BEST:
        return SizeHoles()
    if fit in (Fit.INSTANT, Fit.CLASS_BEST):
        return ClassHoles(quantum, instant=fit is Fit.INSTANT)
    return AddressHoles(cursor=0 if fit is Fit.NEXT else None)
