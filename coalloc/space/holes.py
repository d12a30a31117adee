"""The free list: holes indexed by place and by size, coalesced on entry; keeps I3 (no adjacent holes) and I5 (one set).

By place, two dicts find the neighbours of a freed range: ``size_at`` maps a hole's base to its size, ``start_of`` its end
to its base.  By size, each fit has the index that answers its question:

* BEST: one *bin* per exact size, a dict used as a stack (``popitem`` gives the newest hole, ``del`` any other), beside
  the sorted list of the sizes present.  Of several smallest holes the newest wins, by measurement: the lowest address takes
  2.3 times as long and leaves no less fragmentation (python -m benchmarks.tricks; docs/performance.md).
* INSTANT, CLASS_BEST: the same, with one bin per size class of vmem.
* FIRST, NEXT: the lengths in an address-ordered tree that knows the largest length of each subtree.

Holes never join across a *wall*, the base of an arena (I4): walls are passed in and read only where two holes meet.

Sizes are bytes, multiples of the quantum; a search that fails returns -1, since 0 is a valid address.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections.abc import Container, Iterator
from itertools import chain
from typing import Final

from coalloc.contract import Fit
from coalloc.space.placement import Placement
from coalloc.vm.fittree import FitTree

__all__ = ["AddressHoles", "ClassHoles", "Holes", "SizeHoles", "make_holes", "size_class"]


class Holes(ABC):
    """The free list of one space.

    Args:
        walls: Addresses across which no two holes join.
    """

    __slots__ = ("coalesces", "size_at", "start_of", "takes", "walls")

    def __init__(self, walls: Container[int]) -> None:
        self.size_at: dict[int, int] = {}
        self.start_of: dict[int, int] = {}
        self.walls = walls
        self.takes = 0
        """Requests carved so far."""
        self.coalesces = 0
        """Joins of two neighbours so far."""

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
    def insert(self, base: int, size: int) -> None:
        """Enter a hole in every index, as the newest; it touches no other."""

    @abstractmethod
    def remove(self, base: int, size: int) -> None:
        """Strike a hole from every index."""

    @abstractmethod
    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the holes (base, size) of at least ``size``, in the order of the fit; the caller changes none meanwhile."""

    @abstractmethod
    def by_size(self) -> list[tuple[int, int]]:
        """Return base and size of every hole, as the index by size alone tells it; one that stands twice is told twice."""

    @abstractmethod
    def index_faults(self) -> list[str]:
        """Return what is wrong with the index by size in itself, whatever holes it holds."""

    # --- operations ----------------------------------------------------------------------------------

    def take(self, size: int) -> int:
        """Carve ``size`` from the low end of the hole that the fit chooses; return its base, or -1."""
        for base, hole in self.candidates(size):
            self.carve(base, hole, base, size)
            self.takes += 1
            return base
        return -1

    def place(self, request: Placement) -> int:
        """Carve a constrained request at the lowest place of the first hole, in the order of the fit, that admits it.

        Returns the base, or -1.
        """
        for base, hole in self.candidates(request.size):
            start = request.start_in(base, hole)
            if start >= 0:
                self.carve(base, hole, start, request.size)
                self.takes += 1
                return start
        return -1

    def carve(self, base: int, hole: int, start: int, size: int) -> None:
        """Cut [start, start + size) out of a hole; what is left below and above stays, the upper part the newer."""
        self.remove(base, hole)
        if start > base:
            self.insert(base, start - base)
        end, hole_end = start + size, base + hole
        if hole_end > end:
            self.insert(end, hole_end - end)

    def give(self, base: int, size: int) -> int:
        """Enter a free range, joined with its free neighbours; return the size of the hole that it is now part of."""
        end = base + size
        behind = self.size_at.get(end)
        if behind is not None and end not in self.walls:
            self.remove(end, behind)
            end += behind
            self.coalesces += 1
        before = self.start_of.get(base)
        if before is not None and base not in self.walls:
            self.remove(before, base - before)
            base = before
            self.coalesces += 1
        self.insert(base, end - base)
        return end - base

    def __len__(self) -> int:
        return len(self.size_at)


class SizeHoles(Holes):
    """BEST: the newest of the smallest holes that fit.

    Complexity: ``take`` O(log d), ``give`` O(log d) for d different hole sizes, plus moving at most d list items;
    since sizes are multiples of the quantum, d is at most the square root of twice the free quanta.
    """

    __slots__ = ("_passed_over", "bins", "sizes")

    def __init__(self, walls: Container[int]) -> None:
        super().__init__(walls)
        self.bins: dict[int, dict[int, None]] = {}
        self.sizes: list[int] = []
        self._passed_over = 0

    @property
    def visits(self) -> int:
        """Holes looked at: those that were taken, and those that a constraint turned down."""
        return self.takes + self._passed_over

    @property
    def largest(self) -> int:
        """Bytes of the largest hole, 0 if there is none."""
        return self.sizes[-1] if self.sizes else 0

    def insert(self, base: int, size: int) -> None:
        """Enter a hole in every index, as the newest."""
        self.size_at[base] = size
        self.start_of[base + size] = base
        bin_ = self.bins.get(size)
        if bin_ is None:
            self.bins[size] = {base: None}
            insort(self.sizes, size)
        else:
            bin_[base] = None

    def remove(self, base: int, size: int) -> None:
        """Strike a hole from every index."""
        del self.size_at[base]
        del self.start_of[base + size]
        bin_ = self.bins[size]
        del bin_[base]
        if not bin_:
            self._drop(size)

    def _drop(self, size: int) -> None:
        del self.bins[size]
        del self.sizes[bisect_left(self.sizes, size)]

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the holes of at least ``size``, smallest first, of one size the newest first."""
        for index in range(bisect_left(self.sizes, size), len(self.sizes)):
            hole = self.sizes[index]
            for base in reversed(self.bins[hole]):
                yield base, hole
                self._passed_over += 1  # comes here only if the caller wants another one

    def by_size(self) -> list[tuple[int, int]]:
        """Return base and size of every hole, as the bins tell it."""
        return [(base, size) for size, bin_ in self.bins.items() for base in bin_]

    def index_faults(self) -> list[str]:
        """Compare the list of sizes with the bins, of which none may be empty."""
        faults = [] if self.sizes == sorted(self.bins) else ["the list of sizes differs from the bins"]
        return faults + [f"the bin of {size} is empty" for size, bin_ in self.bins.items() if not bin_]

    # The two methods below do what those of the base class do, with the index written out in place.  On churn at 1,000 live
    # buffers the inherited ones take 1.9 times as long (python -m benchmarks.tricks; docs/performance.md).

    def take(self, size: int) -> int:
        """Carve ``size`` from the low end of the newest of the smallest holes that fit; return its base, or -1."""
        bins = self.bins
        bin_ = bins.get(size)
        if bin_ is not None:
            base = bin_.popitem()[0]
            if not bin_:
                self._drop(size)
            del self.size_at[base]
            del self.start_of[base + size]
        else:
            sizes = self.sizes
            index = bisect_left(sizes, size)
            if index == len(sizes):
                return -1
            hole = sizes[index]
            newest = bins[hole]
            base = newest.popitem()[0]
            if not newest:
                del bins[hole]
                del sizes[index]
            del self.size_at[base]
            start = base + size
            left = hole - size
            self.size_at[start] = left
            self.start_of[start + left] = start
            others = bins.get(left)
            if others is None:
                bins[left] = {start: None}
                insort(sizes, left)
            else:
                others[start] = None
        self.takes += 1
        return base

    def give(self, base: int, size: int) -> int:
        """Enter a free range, joined with its free neighbours; return the size of the hole that it is now part of."""
        size_at, start_of, bins = self.size_at, self.start_of, self.bins
        end = base + size
        behind = size_at.get(end)
        if behind is not None and end not in self.walls:
            del size_at[end]
            bin_ = bins[behind]
            del bin_[end]
            if not bin_:
                self._drop(behind)
            end += behind
            self.coalesces += 1
        before = start_of.get(base)
        if before is not None and base not in self.walls:
            del start_of[base]
            bin_ = bins[base - before]
            del bin_[before]
            if not bin_:
                self._drop(base - before)
            base = before
            self.coalesces += 1
        size = end - base
        size_at[base] = size
        start_of[end] = base
        equals = bins.get(size)
        if equals is None:
            bins[size] = {base: None}
            insort(self.sizes, size)
        else:
            equals[base] = None
        return size


_EXACT_CLASSES: Final = 32
"""Sizes of up to this many quanta have a class of their own (FreeBSD VMEM_OPTVALUE)."""


def size_class(n_quanta: int) -> int:
    """Return the size class of a number of quanta (>= 1): exact up to 32, then one per power of two (B32).

    Source: FreeBSD subr_vmem.c bt_freehead_tofree; facts/kernel.md section 3.1.

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
        walls: Addresses across which no two holes join.
        quantum: Bytes of a quantum.
        instant: Whether the classes whose members all fit are asked first, and only for their newest hole.

    Complexity: INSTANT O(c) for c classes (90 for 64-bit sizes); CLASS_BEST, and INSTANT's fallback, O(members of the
    request's class + c).
    """

    __slots__ = ("_instant", "_shift", "_visits", "bins")

    def __init__(self, walls: Container[int], quantum: int, *, instant: bool) -> None:
        super().__init__(walls)
        self.bins: dict[int, dict[int, None]] = {}
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
        return max(self.size_at[base] for base in self.bins[max(self.bins)]) if self.bins else 0

    def insert(self, base: int, size: int) -> None:
        """Enter a hole in every index, as the newest."""
        self.size_at[base] = size
        self.start_of[base + size] = base
        self.bins.setdefault(size_class(size >> self._shift), {})[base] = None

    def remove(self, base: int, size: int) -> None:
        """Strike a hole from every index."""
        del self.size_at[base]
        del self.start_of[base + size]
        index = size_class(size >> self._shift)
        bin_ = self.bins[index]
        del bin_[base]
        if not bin_:
            del self.bins[index]

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the holes of at least ``size`` in the order of the fit."""
        n_quanta = size >> self._shift
        lowest = size_class(n_quanta)
        present = sorted(index for index in self.bins if index >= lowest)
        if self._instant:
            sure = lowest if n_quanta == _class_floor(lowest) else lowest + 1
            for index in present:
                if index >= sure:
                    base = next(reversed(self.bins[index]))
                    self._visits += 1
                    yield base, self.size_at[base]
        for index in present:
            for base in reversed(self.bins[index]):
                self._visits += 1
                hole = self.size_at[base]
                if hole >= size:
                    yield base, hole

    def by_size(self) -> list[tuple[int, int]]:
        """Return base and size of every hole; the bins do not know sizes, so a hole that is in no other index has 0."""
        return [(base, self.size_at.get(base, 0)) for bin_ in self.bins.values() for base in bin_]

    def index_faults(self) -> list[str]:
        """Look for empty bins, and holes in the bin of another class."""
        faults = [f"the bin of class {index} is empty" for index, bin_ in self.bins.items() if not bin_]
        for index, bin_ in self.bins.items():
            for base in bin_:
                quanta = self.size_at.get(base, 0) >> self._shift
                if not quanta or size_class(quanta) != index:
                    faults.append(f"hole {base:#x} is in the bin of class {index}")
        return faults


class AddressHoles(Holes):
    """FIRST and NEXT: holes by address.

    Args:
        walls: Addresses across which no two holes join.
        cursor: Where NEXT starts; None makes it FIRST, which always starts at the bottom.

    Complexity: O(log h) for h holes; every hole turned down by a constraint costs another O(log h).
    """

    __slots__ = ("_cursor", "tree")

    def __init__(self, walls: Container[int], cursor: int | None = None) -> None:
        super().__init__(walls)
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

    def insert(self, base: int, size: int) -> None:
        """Enter a hole in every index."""
        self.size_at[base] = size
        self.start_of[base + size] = base
        self.tree.insert(base, size)

    def remove(self, base: int, size: int) -> None:
        """Strike a hole from every index."""
        del self.size_at[base]
        del self.start_of[base + size]
        self.tree.remove(base)

    def take(self, size: int) -> int:
        """Carve as the base class does; NEXT's cursor moves to the end of what was carved."""
        base = super().take(size)
        if base >= 0 and self._cursor is not None:
            self._cursor = base + size
        return base

    def place(self, request: Placement) -> int:
        """Carve as the base class does; NEXT's cursor moves to the end of what was carved."""
        base = super().place(request)
        if base >= 0 and self._cursor is not None:
            self._cursor = base + request.size
        return base

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the holes of at least ``size`` from the cursor upwards, then from the bottom up to the cursor."""
        if self._cursor is None:
            return self._between(size, None, None)
        return chain(self._between(size, self._cursor, None), self._between(size, None, self._cursor))

    def _between(self, size: int, low: int | None, high: int | None) -> Iterator[tuple[int, int]]:
        base = self.tree.first_fit(size, low)
        while base is not None and (high is None or base < high):
            yield base, self.size_at[base]
            base = self.tree.first_fit(size, base + 1)

    def by_size(self) -> list[tuple[int, int]]:
        """Return base and size of every hole, as the tree tells it."""
        return [(base, self.tree[base]) for base in self.tree]

    def index_faults(self) -> list[str]:
        """Check the tree: order, links and stored maxima."""
        return self.tree.faults()


def make_holes(fit: Fit, walls: Container[int], quantum: int) -> Holes:
    """Return an empty free list for a fit.

    >>> holes = make_holes(Fit.BEST, walls=(), quantum=1)
    >>> _ = holes.give(0, 8), holes.give(100, 4)
    >>> holes.take(3), holes.take(8), holes.take(2)
    (100, 0, -1)
    """
    if fit is Fit.BEST:
        return SizeHoles(walls)
    if fit in (Fit.INSTANT, Fit.CLASS_BEST):
        return ClassHoles(walls, quantum, instant=fit is Fit.INSTANT)
    return AddressHoles(walls, cursor=0 if fit is Fit.NEXT else None)
