"""The buddy system: blocks of a power of two of quanta, halved and coalesced with their buddies; keeps I1 to I10.

A request is rounded up to a power of two of quanta.  A *block* of size s begins at a multiple of s from its arena's base.  Its
*buddy* is the other half of the block of size 2s that holds both.  An arena of any size is cut into the largest possible
blocks, from its base upwards.  ``alloc`` takes the lowest of the smallest blocks that suffice, and halves it until it is as
small as the request.  ``free`` coalesces a block with its buddy as long as the buddy is free.  So the free blocks are always
the largest aligned ones, whatever the order of the frees (I3 in this geometry).

The price is internal fragmentation: up to half of a block is lost, and a request that is not a power of two needs a larger
hole.

Not done: constraints, resizing in place.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from coalloc.contract import RETAIN, Contract, Fit, Geometry, Release, Resize, Tie, Work
from coalloc.errors import (
    Violation,
)
from coalloc.space.arenas import Arenas
from coalloc.space.checks import bad_free, require_multiple, require_quantum
from coalloc.space.picture import draw
from coalloc.space.placement import Placement, rounded
from coalloc.space.protocol import Kind, Segment, SpaceSource, SpaceStats
from coalloc.space.refusal import Refusal
from coalloc.space.tiling import tiling_violations
from coalloc.units import PAGE_SIZE, MiB, require_size, round_up
from coalloc.vm.source import Source

__all__ = ["BuddySpace"]


class _Blocks:
    """Free blocks of one size, of which the lowest can be taken.

    A block that is struck stays in the queue until it is the lowest there.  The queue is rebuilt when it is more than twice as
    long as the set.  With a sorted list, a replay of the bundled build takes 1.4 times as long.
    """

    __slots__ = ("bases", "queue")

    def __init__(self) -> None:
        self.bases: set[int] = set()
        self.queue: list[int] = []

    def add(self, base: int) -> None:
        """Add a block.  Complexity: O(log b), amortised."""
        self.bases.add(base)
        if len(self.queue) > 2 * len(self.bases) + 8:
            self.queue = list(self.bases)
            heapify(self.queue)
        else:
            heappush(self.queue, base)

    def take_lowest(self) -> int:
        """Remove the lowest block, of one or more, and return its base.  Complexity: O(log b), amortised."""
        while (base := heappop(self.queue)) not in self.bases:
            pass
        self.bases.remove(base)
        return base


class BuddySpace(SpaceSource):
    """Hand out blocks of a power of two of quanta.

    Args:
        source: The source of the arenas.
        kva_limit: The most bytes that are ever mapped, > 0.
        arena_size: Bytes of an arena, a multiple of the source's granule; the last one under the limit may be smaller, and
            a larger request gets an arena of its own size.
        quantum: Bytes of the smallest block, a power of two that divides the source's granule.
        release: The rule that says how many wholly free arenas are kept.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        I1 to I10 hold at every return.  A call that raises changes nothing, except that a refusal has reclaimed first.

    Complexity:
        ``alloc`` and ``free`` O(o log b), amortised, for o orders (at most 64) and b free blocks of one size.

    Source:
        Knowlton 1965, Knuth 2.5; the page allocators of Linux and FreeBSD are buddy systems.

    >>> from coalloc.vm import KernelMap
    >>> space = BuddySpace(KernelMap(), kva_limit=8 * MiB)
    >>> space.size_of(space.alloc(20000))
    32768
    """

    __slots__ = (
        "_allocs", "_arena_size", "_arenas", "_blocks", "_busy", "_coalesces", "_frees", "_in_use", "_moved", "_quantum",
        "_refusals", "_visits",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        *,
        kva_limit: int,
        arena_size: int = 4 * MiB,
        quantum: int = PAGE_SIZE,
        release: Release = RETAIN(1),  # noqa: B008 (a frozen value)
    ) -> None:
        granule = source.granule
        self._arenas = Arenas(source, kva_limit=kva_limit, release=release, is_idle=self._is_idle)
        self._arena_size = require_multiple("arena_size", arena_size, granule)
        self._quantum = require_quantum(quantum, granule)
        self._busy: dict[int, int] = {}  # the base of a freed buffer stays, with size 0
        self._blocks: dict[int, _Blocks] = {}  # the free blocks, by size; none is empty
        self._in_use: dict[int, int] = {}  # bytes of busy blocks, by arena
        self._allocs = self._frees = self._moved = self._refusals = self._coalesces = self._visits = 0

    @property
    def contract(self) -> Contract:
        """What this space promises, as configured."""
        return Contract(
            fit=Fit.BEST,
            release=self._arenas.release,
            resize=Resize.MOVING,
            tie=Tie.LOWEST,
            geometry=Geometry.BUDDY,
            work=Work.CONSTANT,
        )

    @property
    def quantum(self) -> int:
        """Bytes of the smallest block."""
        return self._quantum

    @property
    def kva_limit(self) -> int:
        """The most bytes that are ever mapped."""
        return self._arenas.kva_limit

    # --- hand out and take back ----------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Hand out a block of at least ``size`` bytes, and return its base.

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            KvaLimitError, NoSpaceError: If there is no place.
        """
        block = self._round(size)
        base = self._take(block)
        if base < 0:
            base = self._take_harder(block)
        self._busy[base] = block
        self._in_use[self._arenas.around(base)] += block
        self._allocs += 1
        return base

    def free(self, base: int) -> None:
        """Free a block, and coalesce it with its buddy as long as the buddy is free.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer; the error says what it is instead.
        """
        size = self.size_of(base)
        self._busy[base] = 0
        self._frees += 1
        arena = self._arenas.around(base)
        self._in_use[arena] -= size
        end = arena + self._arenas.size_at[arena]
        start = base
        while True:
            buddy = arena + ((start - arena) ^ size)
            if max(start, buddy) + size > end or not self._strike(buddy, size):
                break
            start = min(start, buddy)
            size *= 2
            self._coalesces += 1
        self._enter(start, size)
        self._settle(arena)

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size by moving it, unless the block size stays the same.

        Raises:
            BadFreeError, InvalidRequestError, KvaLimitError, NoSpaceError: As ``free`` and ``alloc``.
        """
        if self._round(size) == self.size_of(base):
            return base
        moved = self.alloc(size)
        self.free(base)
        self._moved += 1
        return moved

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``, as rounded.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        size = self._busy.get(base) if type(base) is int else 0
        if not size:
            raise bad_free(base, self._busy.items(), self._busy)
        return size

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range inside an arena."""
        self._arenas.source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range inside an arena."""
        self._arenas.source.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now without releasing: the largest block that is free or importable."""
        room = min(self._arenas.headroom, self._arenas.source.available())
        importable = 1 << (room.bit_length() - 1) if room >= self._quantum else 0
        return max(max(self._blocks, default=0), importable)

    def reclaim(self) -> int:
        """Release every wholly free arena, and return how many bytes were unmapped (I10)."""
        before = self._arenas.mapped
        for arena in self._arenas.surplus(keep=0):
            self._release(arena)
        return before - self._arenas.mapped

    # --- blocks --------------------------------------------------------------------------------------

    def _round(self, size: int) -> int:
        return rounded(require_size(size), self._quantum, Geometry.BUDDY)

    def _take(self, size: int) -> int:
        """Take the lowest of the smallest blocks that suffice, halve it down to this size, and return its base, or -1."""
        blocks = self._blocks
        block = min((block for block in blocks if block >= size), default=0)
        if not block:
            return -1
        base = blocks[block].take_lowest()
        if not blocks[block].bases:
            del blocks[block]
        self._visits += 1
        while block > size:
            block //= 2
            self._enter(base + block, block)
        return base

    def _take_harder(self, size: int) -> int:
        """Import an arena; if that fails, release idle arenas and import again; if that fails, refuse."""
        arena = self._import(size)
        if arena < 0 and self.reclaim():
            arena = self._import(size)
        if arena < 0:
            self._refusals += 1
            arenas = self._arenas
            raise Refusal(
                Placement(size, self._quantum, self._quantum),
                tuple(self._holes()),
                arenas.mapped,
                arenas.kva_limit,
                arenas.granule,
                arenas.source.available(),
                Geometry.BUDDY,
            ).error()
        base = self._take(size)
        if not arena <= base < arena + self._arenas.size_at[arena]:  # somebody freed a block while the source mapped
            self._settle(arena)
        return base

    def _import(self, size: int) -> int:
        """Import an arena with a block of this size, cut it into the largest possible blocks, and return its base, or -1."""
        need = round_up(size, self._arenas.granule)
        headroom = self._arenas.headroom
        arena = -1 if need > headroom else self._arenas.take((min(max(self._arena_size, need), headroom), need))
        if arena < 0:
            return -1
        self._in_use[arena] = 0
        for base, block in _cut(arena, self._arenas.size_at[arena], self._quantum):
            self._enter(base, block)
        return arena

    def _settle(self, arena: int) -> None:
        """Release an arena that is wholly free, if enough other free arenas are kept."""
        surplus = self._arenas.settle(arena)
        if surplus >= 0:
            self._release(surplus)

    def _release(self, arena: int) -> None:
        size = self._arenas.size_at[arena]
        self._arenas.give_back(arena)  # first: if the source fails, the arena is still there
        for base, block in _cut(arena, size, self._quantum):
            self._strike(base, block)
        del self._in_use[arena]

    def _is_idle(self, arena: int) -> bool:
        return not self._in_use[arena]

    def _enter(self, base: int, size: int) -> None:
        blocks = self._blocks.get(size)
        if blocks is None:
            blocks = self._blocks[size] = _Blocks()
        blocks.add(base)

    def _strike(self, base: int, size: int) -> bool:
        """Remove a block from the free blocks, and return whether it was free."""
        blocks = self._blocks.get(size)
        if blocks is None or base not in blocks.bases:
            return False
        blocks.bases.remove(base)
        if not blocks.bases:
            del self._blocks[size]
        return True

    def _holes(self) -> list[tuple[int, int]]:
        return sorted((base, size) for size, blocks in self._blocks.items() for base in blocks.bases)

    # --- what it holds -----------------------------------------------------------------------------

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order.  Complexity: O(n log n) for n segments and bases ever freed."""
        found = [(base, size, Kind.FREE) for base, size in self._holes()]
        found += [(base, size, Kind.BUSY) for base, size in self._busy.items() if size]
        found.sort(key=lambda item: item[:2])
        return tuple(Segment(base, size, kind, self._arenas.around(base)) for base, size, kind in found)

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value; all exact."""
        holes, arenas = self._holes(), self._arenas
        free = sum(size for _, size in holes)
        return SpaceStats(
            mapped=arenas.mapped,
            live=arenas.mapped - free,
            free=free,
            largest_hole=max(self._blocks, default=0),
            holes=len(holes),
            arenas=len(arenas),
            peak_mapped=arenas.peak,
            allocs=self._allocs,
            frees=self._frees,
            holes_visited=self._visits,
            coalesces=self._coalesces,
            imports=arenas.imports,
            releases=arenas.releases,
            resizes_moved=self._moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw the arenas as text, ``width`` characters each: ``#`` busy, ``.`` free, ``+`` a mixture."""
        return draw(dict(self._arenas), self.segments(), width)

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant, recomputed from arenas, busy table and blocks."""
        found = list(self._arenas.violations())
        found += tiling_violations(self._arenas, self.segments(), self._quantum)
        holes = set(self._holes())
        for base, size in sorted(holes):
            arena = self._arenas.around(base)
            if (base - arena) % size:
                found.append(Violation("I8", f"block {base:#x}+{size} is not aligned to its size in its arena"))
            end = arena + self._arenas.size_at[arena]
            if (base - arena) % (2 * size) == 0 and base + size < end and (base + size, size) in holes:
                found.append(Violation("I3", f"block {base:#x}+{size} and its buddy are both free"))
        for size, blocks in self._blocks.items():
            if not blocks.bases:
                found.append(Violation("I5", f"an empty set of blocks of {size} bytes is kept"))
            if not blocks.bases <= set(blocks.queue):
                found.append(Violation("I5", f"a block of {size} bytes is missing in the queue of its size"))
        busy = [(base, size) for base, size in self._busy.items() if size]
        if self._allocs - self._frees != len(busy):
            found.append(
                Violation("I6", f"{self._allocs} allocs less {self._frees} frees do not make {len(busy)} buffers")
            )
        in_use = dict.fromkeys(self._arenas.size_at, 0)
        for base, size in busy:
            in_use[self._arenas.around(base)] += size
        if in_use != self._in_use:
            found.append(Violation("I7", "the bytes in use by arena differ from their recount"))
        return tuple(found)


def _cut(base: int, size: int, quantum: int) -> list[tuple[int, int]]:
    """Cut an arena into the largest possible blocks, from its base upwards.

    >>> _cut(100, 7, 1)
    [(100, 4), (104, 2), (106, 1)]
    """
    blocks, at = [], 0
    while at < size:
        block = quantum << ((size - at) // quantum).bit_length() - 1
        blocks.append((base + at, block))
        at += block
    return blocks
