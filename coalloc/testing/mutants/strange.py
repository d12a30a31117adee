"""Planted bugs, M71 on: those that need scale, great numbers, odd sources, a second allocator, an observer, or many calls.

They are planted in :class:`Runs`, a correct allocator of our own that is short enough to change anywhere.  Each docstring says
what is wrong, and where such a bug was seen.
"""

from __future__ import annotations

import random
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import attrs

from coalloc.contract import NEVER, Constraint, Contract, Fit, Law, Resize
from coalloc.space.protocol import Kind, Segment
from coalloc.testing.mutants.listed import mutant
from coalloc.vm.source import Source

__all__ = ["KeepsIdle", "Runs"]

_PAGE: Final = 4096


class Runs:
    """First fit over arenas that are released when they are wholly free; holes are a sorted list of base and size.

    Args:
        source: What arenas are taken from.
        kva_limit: The most bytes that are mapped.
        arena_size: Bytes of an arena, unless a request needs more or the limit leaves less.
    """

    contract: Contract = Contract(
        fit=Fit.FIRST, constraints=frozenset({Constraint.ALIGN, Constraint.HI}), resize=Resize.IN_PLACE
    )
    quantum = _PAGE

    def __init__(self, source: Source, *, kva_limit: int, arena_size: int = 1 << 20) -> None:
        self.source, self.kva_limit, self.arena_size = source, kva_limit, arena_size
        self.arenas: dict[int, int] = {}
        self.holes: list[tuple[int, int]] = []
        self.busy: dict[int, int] = {}
        self.mapped = self.peak = self.allocs = self.frees = self.refusals = 0

    # --- what a caller asks --------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Hand out the lowest range that fits."""
        return self.take(self.rounded(size), 0, 2**64 - 1)

    def xalloc(self, size: int, *, align: int = 0, hi: int = 2**64 - 1) -> int:
        """Hand out an aligned range that ends at ``hi`` at most."""
        if align & (align - 1):
            raise ValueError(f"align={align}")
        return self.take(self.rounded(size), align, hi)

    def free(self, base: int) -> None:
        """Free a range, and release its arena if that is wholly free."""
        size = self.busy.pop(self.checked(base))
        self.frees += 1
        self.settle(self.give(base, size))

    def resize(self, base: int, size: int) -> int:
        """Resize in place where the hole behind suffices, else by moving."""
        old, size = self.busy[self.checked(base)], self.rounded(size)
        if size < old:
            self.busy[base] = size
            self.give(base + size, old - size)
        elif size > old:
            arena = self.arena_of(base)
            behind = self.hole_at(base + old) if base + old < arena + self.arenas[arena] else 0
            if behind < size - old:
                there = self.take(size, 0, 2**64 - 1)
                self.frees += 1
                del self.busy[base]
                self.settle(self.give(base, old))
                return there
            self.cut(base + old, behind, base + old, size - old)
            self.busy[base] = size
        return base

    def reclaim(self) -> int:
        """Release nothing, since no arena is kept idle."""
        return 0

    def size_of(self, base: int) -> int:
        """Return the bytes of a live range."""
        return self.busy[base]

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments, by address."""
        kinds = [(base, size, Kind.BUSY) for base, size in self.busy.items()]
        kinds += [(base, size, Kind.FREE) for base, size in self.holes]
        return tuple(Segment(base, size, kind, self.arena_of(base)) for base, size, kind in sorted(kinds, key=_first))

    def stats(self) -> dict[str, Any]:
        """Return the figures."""
        sizes = [size for _, size in self.holes]
        return {
            "mapped": self.mapped,
            "live": sum(self.busy.values()),
            "free": sum(sizes),
            "holes": len(sizes),
            "largest_hole": max(sizes, default=0),
            "arenas": len(self.arenas),
            "peak_mapped": self.peak,
            "allocs": self.allocs,
            "frees": self.frees,
            "refusals": self.refusals,
        }

    # --- how it is done ------------------------------------------------------------------------------------------

    def rounded(self, size: int) -> int:
        """Return whole pages."""
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError(f"size={size!r}")
        return size + -size % _PAGE

    def checked(self, base: int) -> int:
        """Return the base of a live range, or raise."""
        if type(base) is not int or base not in self.busy:
            raise KeyError(base)
        return base

    def take(self, size: int, align: int, hi: int) -> int:
        """Carve a range from the lowest hole that admits it, or from a new arena."""
        found = self.find(size, align, hi)
        if found is None and self.grow(size, align):
            found = self.find(size, align, hi)
            if found is None or self.arena_of(found[0]) != self.newest:  # or a hole came while the source mapped
                self.settle(self.newest)
        if found is None:
            self.refusals += 1
            raise MemoryError(size)
        at, hole, length = found
        self.cut(hole, length, at, size)
        self.busy[at] = size
        self.allocs += 1
        return at

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the holes that are large enough, by address."""
        return (hole for hole in self.holes if hole[1] >= size)

    def find(self, size: int, align: int, hi: int) -> tuple[int, int, int] | None:
        """Return a place, and base and size of its hole."""
        for base, length in self.candidates(size):
            at = base + -base % align if align else base
            if at + size <= base + length and at + size - 1 <= hi:
                return at, base, length
        return None

    def grow(self, size: int, align: int) -> bool:
        """Map an arena that admits a request, if the limit and the source allow one."""
        room = self.room()
        wanted = size + (align if align > _PAGE else 0)
        for length in dict.fromkeys((max(self.arena_size, wanted), wanted, size)):
            length = min(length, room) if length > size else length
            length += -length % self.source.granule
            if size <= length <= room:
                try:
                    base = self.source.map(length)
                except MemoryError:
                    continue
                self.enter(base, length)
                return True
        return False

    newest = 0

    def enter(self, base: int, size: int) -> None:
        """Enter an arena."""
        self.newest = base
        self.arenas[base] = size
        self.mapped += size
        self.peak = max(self.peak, self.mapped)
        insort(self.holes, (base, size))

    def room(self) -> int:
        """Return what the limit leaves, in whole granules."""
        left = self.kva_limit - self.mapped
        return left - left % self.source.granule

    def cut(self, hole: int, length: int, at: int, size: int) -> None:
        """Take a range out of a hole."""
        index = bisect_left(self.holes, (hole, length))
        rests = ((hole, at - hole), (at + size, hole + length - at - size))
        self.holes[index : index + 1] = [rest for rest in rests if rest[1]]

    def give(self, base: int, size: int) -> int:
        """Make a range a hole, joined with its neighbours, and return the base of its arena."""
        arena = self.arena_of(base)
        end = arena + self.arenas[arena]
        index = bisect_left(self.holes, (base, 0))
        if index < len(self.holes) and self.holes[index][0] == base + size < end:
            size += self.holes.pop(index)[1]
        if index and base > arena and sum(self.holes[index - 1]) == base:
            index -= 1
            base, before = self.holes.pop(index)
            size += before
        self.holes.insert(index, (base, size))
        return arena

    def settle(self, arena: int) -> None:
        """Release an arena that is wholly free."""
        size = self.arenas[arena]
        if self.hole_at(arena) == size:
            self.source.unmap(arena, size)
            self.holes.remove((arena, size))
            del self.arenas[arena]
            self.mapped -= size

    def hole_at(self, base: int) -> int:
        """Return the bytes of the hole that begins at an address, in its arena; 0 if none does."""
        index = bisect_left(self.holes, (base, 0))
        return self.holes[index][1] if index < len(self.holes) and self.holes[index][0] == base else 0

    def arena_of(self, address: int) -> int:
        """Return the base of the arena that holds an address."""
        bases = sorted(self.arenas)
        return bases[bisect_right(bases, address) - 1]


def _first(segment: tuple[int, int, Kind]) -> int:
    return segment[0]


# --- scale -----------------------------------------------------------------------------------------------------------


@mutant(71, check="robson")
class _NumbersBuffersInAByte(Runs):
    """Numbers live buffers in 8 bits, so that the 257th takes the record of the first (small embedded heaps)."""

    def take(self, size: int, align: int, hi: int) -> int:
        at = super().take(size, align, hi)
        if len(self.busy) > 256:
            self.busy.pop(next(iter(self.busy)))
        return at


@mutant(72, check="scale-up")
class _HasATableOf256(Runs):
    """Keeps at most 256 holes and drops the last one beyond them (fixed descriptor tables, as mbuf maps had)."""

    def give(self, base: int, size: int) -> int:
        arena = super().give(base, size)
        del self.holes[256:]
        return arena


@mutant(73, check="many-arenas")
class _Has64Arenas(Runs):
    """Refuses the 65th arena, since the arenas have a bit each in one word (regions in one-word masks)."""

    def room(self) -> int:
        return super().room() if len(self.arenas) < 64 else 0


@mutant(74, check="many-arenas")
class _ShiftsBy32(Runs):
    """Computes 1 << arena in 32 bits, and never releases an arena beyond the 32nd (the classic shift of an int)."""

    def settle(self, arena: int) -> None:
        if sorted(self.arenas).index(arena) < 32:
            super().settle(arena)


@mutant(75, check="scale-up")
class _SearchesOneWord(Runs):
    """Finds no run of more than 64 pages, since runs are looked for in one word of a bitmap (bitmap allocators)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        return super().candidates(size) if size <= 64 * _PAGE or not self.busy else iter(())


@mutant(76)
class _ForgetsEvery8192nd(Runs):
    """Loses every 8,192nd freed range, when a ring of deferred frees wraps (magazine and epoch rings)."""

    def give(self, base: int, size: int) -> int:
        return self.arena_of(base) if self.frees % 8192 == 0 else super().give(base, size)


@mutant(77, check="scale-up")
class _CountsASizeInAByte(Runs):
    """Counts freed ranges of one size in 8 bits and takes a wrapped count for an empty list (free-list counters)."""

    def __init__(self, source: Source, *, kva_limit: int, arena_size: int = 1 << 20) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.counts: dict[int, int] = {}

    def give(self, base: int, size: int) -> int:
        arena = super().give(base, size)
        holes = [hole for hole in self.holes if hole[1] == size]
        if len(holes) >= 256 and len(holes) % 256 == 0:
            self.holes.remove(holes[-1])
        return arena


@mutant(78, check="robson")
class _StopsAfter100Holes(Runs):
    """Gives up a search after a hundred holes (bounded first-fit searches)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        return (hole for hole in self.holes[:100] if hole[1] >= size)


@mutant(79, check="scale-up")
class _SplitsRunsAt256(Runs):
    """Keeps the length of a hole in 8 bits, so that one of more than 256 pages is cut to 256 (page maps of bytes)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        return ((base, length) for base, length in super().candidates(size) if length <= 256 * _PAGE or not self.frees)


@mutant(80, check="robson")
class _DropsTheTailOfTheQueue(Runs):
    """Joins neighbours only every 500th free, and finds one pair at a time (lazy buddy and deferred joins)."""

    def give(self, base: int, size: int) -> int:
        if len(self.busy) < 300:
            return super().give(base, size)
        insort(self.holes, (base, size))
        return self.arena_of(base)


# --- numbers -----------------------------------------------------------------------------------------------------------


@mutant(81, check="gigabytes")
class _TakesSizesForSigned32(Runs):
    """Refuses sizes of 2**31 and more, since a size is an int (pre-LP64 interfaces)."""

    def take(self, size: int, align: int, hi: int) -> int:
        if size >= 2**31:
            raise MemoryError(size)
        return super().take(size, align, hi)


@mutant(82, check="great-numbers")
class _TakesAddressesForSigned64(Runs):
    """Compares addresses as signed numbers, so that those from 2**63 on come first (casts to intptr_t)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        return iter(sorted(super().candidates(size), key=lambda hole: hole[0] - 2**64 * (hole[0] >= 2**63)))


@mutant(83, check="great-numbers")
class _ComparesAddressesIn32Bits(Runs):
    """Compares the low halves of addresses, so that an arena above 2**32 may come before one below (32-bit keys)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        return iter(sorted(super().candidates(size), key=lambda hole: hole[0] % 2**32))


@mutant(84, check="gigabytes")
class _KeepsSizesIn32Bits(Runs):
    """Frees what is left of a size in 32 bits, so that 4 GiB are never given back (size fields of 32 bits)."""

    def give(self, base: int, size: int) -> int:
        return super().give(base, size % 2**32 or _PAGE)


@mutant(85)
class _WrapsAResize(Runs):
    """Rounds the size of a resize in 63 bits, so that 2**63 shrinks the buffer (overflow in realloc)."""

    def resize(self, base: int, size: int) -> int:
        return super().resize(base, max((size + _PAGE - 1) % 2**63, 1) if type(size) is int and size > 0 else size)


@mutant(86, check="great-numbers")
class _WrapsAnAlignment(Runs):
    """Aligns in 64 bits, so that a great alignment wraps to address 0 (overflow in aligned allocation)."""

    def find(self, size: int, align: int, hi: int) -> tuple[int, int, int] | None:
        for base, length in self.candidates(size):
            at = (base + -base % align) % 2**64 if align else base
            if (max(at, base)) + size <= base + length and at + size - 1 <= hi:
                return (max(at, base)), base, length
        return None


@mutant(87)
class _TakesTheEndForInclusive(Runs):
    """Takes an hi of 2**64 - 1 for an end, and so never hands out the last page of the address space (off by one)."""

    def find(self, size: int, align: int, hi: int) -> tuple[int, int, int] | None:
        return super().find(size, align, hi - 1)


@mutant(88, check="other-numbers")
class _TakesAnyNumber(Runs):
    """Takes whatever equals a size once a range of it was freed, floats and True included (dict lookups by value)."""

    def rounded(self, size: int) -> int:
        if self.frees and any(length == size for _, length in self.holes):
            return int(size)
        return super().rounded(size)


@mutant(89, check="other-numbers")
class _TakesTrueForOne(Runs):
    """Takes True for a size (isinstance instead of type)."""

    def rounded(self, size: int) -> int:
        return super().rounded(int(size) if isinstance(size, bool) and self.frees else size)


# --- sources -----------------------------------------------------------------------------------------------------------


@mutant(90, check="defaults")
class _TakesZeroForAnAlignment(Runs):
    """Refuses an explicit alignment of 0, since only a missing one is none (None as the default)."""

    def xalloc(self, size: int, *, align: int | None = None, hi: int = 2**64 - 1) -> int:
        if align == 0:
            raise ValueError("align=0")
        return super().xalloc(size, align=align or 0, hi=hi)


@mutant(91, check="great-numbers")
class _AssumesAscending(Runs):
    """Appends the hole of a new arena, as if sources went upwards (brk-like sources)."""

    def enter(self, base: int, size: int) -> None:
        super().enter(base, size)
        self.holes.remove((base, size))
        self.holes.append((base, size))


@mutant(92)
class _AssumesOneArena(Runs):
    """Joins across arenas that touch (sbrk heaps over mmap)."""

    contract = attrs.evolve(Runs.contract, resize=Resize.NONE)

    def give(self, base: int, size: int) -> int:
        arena = super().give(base, size)
        index = bisect_left(self.holes, (base + 1, 0)) - 1
        if index >= 0 and index + 1 < len(self.holes) and sum(self.holes[index]) == self.holes[index + 1][0]:
            self.holes[index] = (self.holes[index][0], self.holes[index][1] + self.holes.pop(index + 1)[1])
        return arena


@mutant(93)
class _AssumesPagesOf4K(Runs):
    """Charges an arena by pages of 4 KiB, whatever the granule is (hosts with pages of 16 and 64 KiB)."""

    def room(self) -> int:
        left = self.kva_limit - self.mapped
        return left + -left % self.source.granule


@mutant(94, check="failing-source")
class _GivesUpForGood(Runs):
    """Never asks a source again that refused once (sticky out-of-memory flags)."""

    failed = False

    def grow(self, size: int, align: int) -> bool:
        if self.failed:
            return False
        grown = super().grow(size, align)
        self.failed = not grown and self.room() >= size
        return grown


@mutant(95)
class _CountsBeforeItMaps(Runs):
    """Charges an arena before it is mapped, and keeps the charge when the source fails (lost refunds)."""

    def grow(self, size: int, align: int) -> bool:
        grown = super().grow(size, align)
        if not grown and self.room() >= size:
            self.mapped += size
        return grown


@mutant(97, check="sources")
class _LosesTheTail(Runs):
    """Forgets the last page of an arena of the default size (guard pages that were taken out again)."""

    def enter(self, base: int, size: int) -> None:
        super().enter(base, size)
        if size == 4 << 20:
            self.holes.remove((base, size))
            insort(self.holes, (base, size - _PAGE))


class KeepsIdle(Runs):
    """The same allocator, which keeps idle arenas until reclaim()."""

    contract = attrs.evolve(Runs.contract, release=NEVER, reclaims=False)

    def settle(self, arena: int) -> None:
        """Keep the arena."""

    def reclaim(self) -> int:
        """Release all idle arenas."""
        before = self.mapped
        for arena in list(self.arenas):
            Runs.settle(self, arena)
        return before - self.mapped


@mutant(96, check="pressure")
class _SumsBeforeItMaps(KeepsIdle):
    """Stores a sum that was worked out before map() was called, in which a handler reclaimed (races with pressure)."""

    def grow(self, size: int, align: int) -> bool:
        before = self.mapped
        grown = super().grow(size, align)
        if grown:
            self.mapped = before + self.arenas[self.newest]
        return grown


# --- identity ----------------------------------------------------------------------------------------------------------


@mutant(98)
class _SharesItsCount(Runs):
    """Counts frees in the class, so that one allocator changes where another begins to search (static variables)."""

    total: ClassVar[list[int]] = [0]

    def give(self, base: int, size: int) -> int:
        self.total[0] += 1
        return super().give(base, size)

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        found = list(super().candidates(size))
        return iter(found[::-1] if self.total[0] % 7 == 6 else found)


@mutant(99)
class _SharesItsTable(Runs):
    """Keeps its live ranges in a table that all allocators share (mutable default arguments)."""

    def __init__(
        self,
        source: Source,
        *,
        kva_limit: int,
        arena_size: int = 1 << 20,
        busy: dict[int, int] = {},  # noqa: B006 (the bug)
    ) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.busy = busy


@mutant(100)
class _RepairsWhenSeen(Runs):
    """Joins holes only when somebody looks at them (checkers that mend what they check)."""

    def give(self, base: int, size: int) -> int:
        insort(self.holes, (base, size))
        return self.arena_of(base)

    def segments(self) -> tuple[Segment, ...]:
        self.join()
        return super().segments()

    def stats(self) -> dict[str, Any]:
        self.join()
        return super().stats()

    def join(self) -> None:
        """Join all neighbours."""
        joined: list[tuple[int, int]] = []
        for base, size in self.holes:
            if joined and sum(joined[-1]) == base and self.arena_of(joined[-1][0]) == self.arena_of(base):
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((base, size))
        self.holes = joined


@mutant(101, only_shown=True)
class _SpoilsWhenSeen(Runs):
    """Turns its list around when somebody reads the figures (observers that sort in place)."""

    def stats(self) -> dict[str, Any]:
        found = super().stats()
        if len(self.holes) == 2 and len(self.arenas) == 2:
            self.holes.reverse()
        return found


@mutant(102, check="clock")
class _WatchesTheClock(Runs):
    """Searches from the top when a second has passed since the last call (ageing policies)."""

    last = 0.0

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        now, before = time.monotonic(), self.last
        self.last = now
        found = list(super().candidates(size))
        return iter(found[::-1] if before and now - before > 600 else found)


@mutant(103, check="determinism")
class _UsesTheGlobalGenerator(Runs):
    """Breaks ties by the global random generator (randomised allocators without a seed of their own)."""

    contract = attrs.evolve(Runs.contract, fit=None)

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        found = list(super().candidates(size))
        random.shuffle(found)
        return iter(found)


@mutant(104, check="shift")
class _DependsOnWhereItIs(Runs):
    """Begins elsewhere in high address spaces, though the law of shifts is declared (address-dependent hashing)."""

    contract = attrs.evolve(Runs.contract, fit=None, laws=frozenset({Law.SHIFT}))

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        found = list(super().candidates(size))
        return iter(found[::-1] if found and found[0][0] >= 2**39 else found)


# --- time and space ------------------------------------------------------------------------------------------------------


@mutant(105, check="memory")
class _KeepsAHistory(Runs):
    """Keeps a record of every call (debug logs without a bound)."""

    def __init__(self, source: Source, *, kva_limit: int, arena_size: int = 1 << 20) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.history: list[str] = []

    def give(self, base: int, size: int) -> int:
        self.history.append(f"free {base:#x} {size} {self.frees}")
        return super().give(base, size)


@mutant(106, check="memory")
class _KeepsEmptyRecords(Runs):
    """Keeps the record of a freed buffer under a number that is never used again (leaking descriptors)."""

    def __init__(self, source: Source, *, kva_limit: int, arena_size: int = 1 << 20) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.records: dict[int, tuple[int, int]] = {}

    def give(self, base: int, size: int) -> int:
        self.records[self.frees] = (base, size)
        return super().give(base, size)


# --- figures -----------------------------------------------------------------------------------------------------------


@mutant(107, only_shown=True)
class _CountsArenasForHoles(Runs):
    """Shows the number of arenas where that of the holes belongs (swapped fields)."""

    def stats(self) -> dict[str, Any]:
        return super().stats() | {"holes": len(self.arenas)}


@mutant(108, only_shown=True)
class _CountsRefusals(Runs):
    """Counts a refused request as an alloc (counters before the check)."""

    def take(self, size: int, align: int, hi: int) -> int:
        try:
            return super().take(size, align, hi)
        except MemoryError:
            self.allocs += 1
            raise


@mutant(109, only_shown=True)
class _ShowsFloats(Runs):
    """Shows bytes as floats (averages that replaced sums)."""

    def stats(self) -> dict[str, Any]:
        return super().stats() | {"free": sum(size for _, size in self.holes) * 1.0}


@mutant(110, only_shown=True)
class _ShowsAStaleLargest(Runs):
    """Works out the largest hole at frees only (cached maxima)."""

    largest = 0

    def give(self, base: int, size: int) -> int:
        arena = super().give(base, size)
        self.largest = max(length for _, length in self.holes)
        return arena

    def stats(self) -> dict[str, Any]:
        return super().stats() | {"largest_hole": self.largest}


@mutant(111, only_shown=True)
class _ForgetsWhatIsReleased(Runs):
    """Lets the peak go down with a release (peaks that are recomputed)."""

    def settle(self, arena: int) -> None:
        super().settle(arena)
        self.peak = max(self.mapped, 1)


@mutant(112, only_shown=True)
class _CountsAMoveTwice(Runs):
    """Counts the alloc of a resize that moves twice (realloc that calls the counted alloc)."""

    def resize(self, base: int, size: int) -> int:
        there = super().resize(base, size)
        self.allocs += there != base
        return there


@mutant(113, only_shown=True)
class _CountsRequestsForLive(Runs):
    """Shows as live what was asked for, and not what is occupied, after a shrink (statistics by request)."""

    off = 0

    def resize(self, base: int, size: int) -> int:
        before = self.busy.get(base, 0)
        there = super().resize(base, size)
        self.off += _PAGE if self.busy[there] < before else 0
        return there

    def stats(self) -> dict[str, Any]:
        found = super().stats()
        return found | {"live": found["live"] + self.off}


# --- resize and free -----------------------------------------------------------------------------------------------------


@mutant(114)
class _LosesWhatAShrinkLeaves(Runs):
    """Shrinks a buffer and forgets its tail (realloc that only writes the size)."""

    def resize(self, base: int, size: int) -> int:
        if base in self.busy and type(size) is int and 1 <= size <= self.busy[base]:
            self.busy[base] = self.rounded(size)
            return base
        return super().resize(base, size)


@mutant(115)
class _GrowsTooFar(Runs):
    """Takes the whole hole behind a buffer that grows (realloc that rounds up to the hole)."""

    def resize(self, base: int, size: int) -> int:
        there = super().resize(base, size)
        behind = self.hole_at(there + self.busy[there])
        if behind == _PAGE and there == base and self.arena_of(there) == self.arena_of(there + self.busy[there]):
            self.holes.remove((there + self.busy[there], behind))
            self.busy[there] += behind
        return there


@mutant(116)
class _FreesBeforeItHas(Runs):
    """Frees the old buffer first, and loses it where there is no other (realloc by free and alloc)."""

    def resize(self, base: int, size: int) -> int:
        old, new = self.busy[self.checked(base)], self.rounded(size)
        if new > old and self.hole_at(base + old) < new - old:
            del self.busy[base]
            self.settle(self.give(base, old))
            there = self.take(new, 0, 2**64 - 1)
            self.frees += 1
            return there
        return super().resize(base, size)


@mutant(117)
class _AlwaysMoves(Runs):
    """Moves a buffer that could grow in place (realloc by copy)."""

    def resize(self, base: int, size: int) -> int:
        old, new = self.busy[self.checked(base)], self.rounded(size)
        if new <= old:
            return super().resize(base, size)
        there = self.take(new, 0, 2**64 - 1)
        self.frees += 1
        del self.busy[base]
        self.settle(self.give(base, old))
        return there


@mutant(118)
class _FreesByTheNearest(Runs):
    """Frees the buffer below an address that is none (frees by search)."""

    def checked(self, base: int) -> int:
        below = [start for start in self.busy if start <= base < start + self.busy[start]] if type(base) is int else []
        return below[0] if below else super().checked(base)


@mutant(119)
class _NoticesOnlyTheLast(Runs):
    """Notices a second free only of what was freed last, as glibc's fast bins do."""

    def free(self, base: int) -> None:
        if base in self.busy or self.arenas == {}:
            super().free(base)
        elif any(start == base for start, _ in self.holes):
            raise KeyError(base)


# --- arenas and limits -------------------------------------------------------------------------------------------------


@mutant(120)
class _StopsAtTheLimit(Runs):
    """Never maps an arena that would reach the limit exactly (less than instead of at most)."""

    def room(self) -> int:
        return super().room() - self.source.granule if self.arenas else super().room()


@mutant(121, check="failing-source")
class _GoesBeyondTheLimit(Runs):
    """Compares the limit with what is live, and not with what is mapped (charging by use)."""

    def room(self) -> int:
        left = self.kva_limit - sum(self.busy.values())
        return left - left % self.source.granule


@mutant(122)
class _ReleasesByHalves(Runs):
    """Keeps one idle arena for later, though none is to be kept (hysteresis nobody asked for)."""

    def settle(self, arena: int) -> None:
        if len(self.arenas) > 1:
            super().settle(arena)


@mutant(123, check="failing-source")
class _MapsTooSoon(Runs):
    """Maps an arena when the first hole does not fit, without a look at the others (one-hole caches)."""

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        first = self.holes[:1]
        return iter([hole for hole in first if hole[1] >= size]) if self.room() else super().candidates(size)


@mutant(124)
class _TakesTheHighEnd(Runs):
    """Carves a request from the end of its hole when the rest would be one page (fragmentation heuristics)."""

    def find(self, size: int, align: int, hi: int) -> tuple[int, int, int] | None:
        found = super().find(size, align, hi)
        if found is not None and not align and found[2] == size + _PAGE:
            return found[1] + _PAGE, found[1], found[2]
        return found
