"""The reference: buffers carved from large arenas, coalesced when freed; keeps I1 to I10.

Nouns.  An *arena* is a range imported from the source in one mapping.  It is tiled by *segments*: *busy* ones (buffers),
*cached* ones and *holes*.  The *free list* (:mod:`coalloc.space.holes`) indexes the holes of all arenas by place and by
size.  The *busy table* knows the size of every buffer by its base.  A *quantum cache* keeps freed buffers of one small size
on a bounded stack.  *Mapped* bytes are those of all arenas; they never exceed ``kva_limit`` (I9).

Life of a buffer.  ``alloc`` rounds to the quantum, takes the newest cached buffer of that size if there is one, else
carves from the hole that the fit chooses.  ``free`` parks the buffer on its stack while there is room, else gives it to the
free list, which joins it with the holes on either side: two dict look-ups, no walk.  Holes never join across the base of an
arena (I4), since arenas are given back one by one.

When there is no hole.  (1) An arena is imported: ``arena_size`` bytes, or the request's own size if that is larger, or
what the limit leaves; where the source refuses that much, what the request needs.  (2) If that fails, caches are drained
and the holes asked again; (3) then wholly free arenas are released, and the source is asked again.  (4) Then the call
refuses.  So a refusal means that no hole admits the request, caches drained, and that limit or source forbid the arena it
would need (``Completeness.EXACT``); and it has done what ``reclaim`` does, but nothing else.

Constraints.  Where an arena comes to lie is up to the source.  So for a constrained request at most one arena of each of
three sizes is tried (usual, sure to admit it, bare), and given back at once if the request does not fit it: there is no
import loop, and a request with bounds is refused although some later arena might have lain within them.  A request
whose constraints contradict each other is refused at once.

When an arena is wholly free.  The release rule keeps a number of such arenas mapped (one, unless told otherwise), so that
a load which swings about an arena's edge does not import and release in turn; the one that became free last is released
when that number is reached.  ``reclaim`` releases them all.

What freed means.  A base stays in the busy table with size 0 once its buffer is freed, so that a second free can be told
from a wild one.  The table holds at most one entry per address ever handed out.

Differences from the kernel: one thread, no lock; vmem keeps boundary tags where this has two dicts.

Figures that the hot path would have to count are worked out when asked for: bytes live are mapped less free less cached,
frees into a cache are its hits plus what it holds plus what was drained.  The checker recounts from the segments.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from sortedcontainers import SortedDict

from coalloc.contract import (
    RETAIN,
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    Fit,
    Release,
    Resize,
    Tie,
    Work,
)
from coalloc.errors import (
    ExhaustionError,
    InvalidRequestError,
    InvariantViolation,
    SpanOverlapError,
    Violation,
)
from coalloc.extent import Extent
from coalloc.space.handles import bad_free, require_multiple, require_quantum
from coalloc.space.holes import Holes, make_holes
from coalloc.space.picture import draw
from coalloc.space.placement import Placement
from coalloc.space.protocol import Kind, Segment, SpaceSource, SpaceStats
from coalloc.space.refusal import Refusal
from coalloc.units import MAX_ADDRESS, MAX_SIZE, PAGE_SIZE, MiB, require_size, round_down, round_up
from coalloc.vm.source import Source

__all__ = ["CACHE_DEPTH", "CoalescingSpace"]

CACHE_DEPTH = 256
"""Buffers of one size that a quantum cache keeps at most."""

_WORK: Final = {
    Fit.BEST: Work.CONSTANT,
    Fit.FIRST: Work.LOG,
    Fit.NEXT: Work.LOG,
    Fit.INSTANT: Work.LINEAR,
    Fit.CLASS_BEST: Work.LINEAR,
}
"""Of the steps of the interpreter; what a sorted list moves is not among them.  The last two scan one size class at worst."""


class CoalescingSpace(SpaceSource):
    """Carve buffers from arenas, and coalesce them when they are freed.

    Args:
        source: Where arenas come from.
        kva_limit: The most bytes that are ever mapped, > 0; what exceeds a multiple of the source's granule is never used.
        arena_size: Bytes of an arena, a multiple of the source's granule; the last one under the limit may be smaller,
            a larger request gets an arena of its own size.
        quantum: Every base and size is a multiple of it; a power of two that divides the source's granule.
        fit: Which hole wins.
        quantum_cache: The largest size in bytes that is kept on a stack when freed, instead of coalesced; 0 is none.
        release: How many wholly free arenas are kept.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        I1 to I10 at every return.  A call that raises anything but ExhaustionError changes nothing (I11); one that raises
        that has done what ``reclaim`` does, and counted the refusal.

    Complexity:
        ``alloc`` and ``free`` as the free list's ``take`` and ``give`` (BEST: O(log d) for d different hole sizes), O(1)
        from the cache; a release O(n) in the arenas that the release rule keeps.  ``stats`` O(h + a) for h holes and a
        arenas, ``segments`` O(n log n).

    Source:
        Bonwick and Adams, USENIX ATC 2001; FreeBSD subr_vmem.c; B33 to B37.

    >>> from coalloc.vm import KernelMap
    >>> space = CoalescingSpace(KernelMap(), kva_limit=8 * MiB)
    >>> a, b = space.alloc(16384), space.alloc(4096)
    >>> b - a
    16384
    >>> space.free(a); space.free(b)
    >>> space.stats().holes, space.reclaim() == 4 * MiB
    (1, True)
    """

    __slots__ = (
        "_arena_size",
        "_arenas",
        "_busy",
        "_cache",
        "_cache_hits",
        "_drained",
        "_frees",
        "_granule",
        "_holes",
        "_idle",
        "_imports",
        "_kva_limit",
        "_low_bits",
        "_mapped",
        "_peak_mapped",
        "_quantum",
        "_quantum_cache",
        "_refusals",
        "_release",
        "_releases",
        "_reserves",
        "_resizes_in_place",
        "_resizes_moved",
        "_smallest_arena",
        "_source",
        "fit",
    )

    def __init__(
        self,
        source: Source,
        *,
        kva_limit: int,
        arena_size: int = 4 * MiB,
        quantum: int = PAGE_SIZE,
        fit: Fit = Fit.BEST,
        quantum_cache: int = 0,
        release: Release = RETAIN(1),  # noqa: B008 (a frozen value)
    ) -> None:
        granule = source.granule
        require_size(kva_limit, "kva_limit")
        require_quantum(quantum, granule)
        require_multiple("arena_size", arena_size, granule)
        if type(quantum_cache) is not int or quantum_cache < 0 or quantum_cache % quantum:
            raise InvalidRequestError(
                "quantum_cache", quantum_cache, f"must be 0 or a multiple of the quantum {quantum}"
            )
        if not isinstance(fit, Fit):
            raise InvalidRequestError("fit", fit, "must be a Fit")
        if not isinstance(release, Release):
            raise InvalidRequestError("release", release, "must be a Release")
        self.fit = fit
        self._source = source
        self._granule = granule
        self._kva_limit = kva_limit
        self._arena_size = arena_size
        self._quantum = quantum
        self._low_bits = quantum - 1
        self._quantum_cache = quantum_cache
        self._release = release
        self._busy: dict[int, int] = {}
        self._cache: dict[int, list[int]] = {}  # by size, made when first needed
        self._arenas: SortedDict[int, int] = SortedDict()
        self._holes: Holes = make_holes(fit, self._arenas, quantum)
        self._idle: list[int] = []
        self._smallest_arena = MAX_SIZE
        self._mapped = 0
        self._peak_mapped = 0
        self._cache_hits = 0
        self._drained = 0
        self._frees = 0
        self._reserves = 0
        self._imports = 0
        self._releases = 0
        self._resizes_in_place = 0
        self._resizes_moved = 0
        self._refusals = 0

    @property
    def contract(self) -> Contract:
        """What this space promises, as configured."""
        return Contract(
            fit=self.fit,
            completeness=Completeness.EXACT,
            coalescing=Coalescing.DEFERRED if self._quantum_cache else Coalescing.IMMEDIATE,
            release=self._release,
            constraints=frozenset(Constraint),
            resize=Resize.IN_PLACE,
            tie=Tie.NEWEST if self.fit is Fit.BEST else None,
            work=_WORK[self.fit],
        )

    @property
    def quantum(self) -> int:
        """Every base and size is a multiple of it."""
        return self._quantum

    @property
    def kva_limit(self) -> int:
        """The most bytes that are ever mapped."""
        return self._kva_limit

    # --- hand out and take back ----------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes, rounded up to the quantum, and return the base.

        Args:
            size: Bytes, 1 .. 2**63.

        Raises:
            InvalidRequestError: For any other size.
            KvaLimitError: If no hole fits and the limit forbids the arena that would.
            NoSpaceError: If no hole fits and the source has no room.
        """
        if type(size) is not int or size & self._low_bits or not 0 < size <= MAX_SIZE:
            size = round_up(require_size(size), self._quantum)
        if size <= self._quantum_cache and (stack := self._cache.get(size)):
            base = stack.pop()
            self._cache_hits += 1
        else:
            base = self._holes.take(size)
            if base < 0:
                base = self._take_harder(Placement(size, self._quantum, self._quantum))
        self._busy[base] = size
        return base

    def free(self, base: int) -> None:
        """Take a buffer back: park it in the cache, or join it with the holes on either side.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer, with what it is instead.
        """
        busy = self._busy
        size = busy.get(base) if type(base) is int else 0
        if not size:
            raise bad_free(base, self._busy.items(), self._busy)
        busy[base] = 0
        if size <= self._quantum_cache:
            stack = self._cache.get(size)
            if stack is None:
                stack = self._cache[size] = []
            if len(stack) < CACHE_DEPTH:
                stack.append(base)
                return
        self._frees += 1
        if self._holes.give(base, size) >= self._smallest_arena:
            self._settle(base)

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = MAX_ADDRESS
    ) -> int:
        """Hand out a range that meets vmem(9)'s constraints, and return its base.

        The fit chooses among the holes that admit the request, which gets the lowest admissible place; the cache is passed by.
        An arena is imported where none does, and given back if it does not lie where the request could be met.

        Args:
            size: Bytes, 1 .. 2**63, rounded up to the quantum.
            align: The base is ``phase`` behind a multiple of this power of two; 0 asks for none.
            phase: A multiple of the quantum below ``align``.
            nocross: The range crosses no multiple of this power of two, which is at least ``size``; 0 asks for none.
            lo: Lowest address the range may hold.
            hi: Highest address the range may hold (inclusive).

        Raises:
            InvalidRequestError: For an argument outside its range.
            KvaLimitError, NoSpaceError: As ``alloc``.

        Source:
            vmem(9) vmem_xalloc; B35.
        """
        request = Placement.of(size, self._quantum, align=align, phase=phase, nocross=nocross, lo=lo, hi=hi)
        base = self._holes.place(request)
        if base < 0:
            base = self._take_harder(request)
        self._busy[base] = request.size
        return base

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range of an arena that is mapped; it is freed like any other buffer.

        Raises:
            InvalidRequestError: If its base or size is not a multiple of the quantum.
            SpanOverlapError: If it does not lie in one hole; ``existing`` is what is in the way, None where nothing is
                mapped.

        Complexity: O(h) for h holes, O(n log n) in the segments when it fails.
        """
        if type(extent) is not Extent or extent.base % self._quantum or extent.size % self._quantum:
            raise InvalidRequestError(
                "extent", str(extent), f"must be an Extent aligned to the quantum {self._quantum}"
            )
        for base, size in self._holes.size_at.items():
            if base <= extent.base and extent.end <= base + size:
                break
        else:
            raise self._in_the_way(extent)
        self._holes.carve(base, size, extent.base, extent.size)
        self._busy[extent.base] = extent.size
        self._reserves += 1

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size: in place where it shrinks or the hole behind it suffices, else by moving it.

        A move allocates before it frees, so that a refusal leaves the buffer as it was (P4).

        Args:
            base: Base of a live buffer.
            size: Bytes, 1 .. 2**63, rounded up to the quantum.

        Returns:
            The base of the buffer: ``base``, unless it moved.

        Raises:
            BadFreeError, InvalidRequestError, KvaLimitError, NoSpaceError: As ``free`` and ``alloc``.
        """
        old = self.size_of(base)
        size = round_up(require_size(size), self._quantum)
        if size == old:
            return base
        if size < old:
            self._holes.give(base + size, old - size)
            self._busy[base] = size
            self._resizes_in_place += 1
            return base
        if self._grow(base, old, size):
            return base
        try:
            moved = self.alloc(size)
        except ExhaustionError:
            if not self._grow(base, old, size):  # the failing alloc may have drained what lies behind
                raise
            self._refusals -= 1
            return base
        self.free(base)
        self._resizes_moved += 1
        return moved

    def _grow(self, base: int, old: int, size: int) -> bool:
        """Grow a buffer into the hole behind it, if that is large enough and in the same arena."""
        end = base + old
        behind = self._holes.size_at.get(end, 0)
        if behind < size - old or end in self._arenas:
            return False
        self._holes.carve(end, behind, end, size - old)
        self._busy[base] = size
        self._resizes_in_place += 1
        return True

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
        self._source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range inside an arena."""
        self._source.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now without draining or releasing: the largest hole or importable arena."""
        headroom = round_down(max(self._kva_limit - self._mapped, 0), self._granule)
        return max(self._holes.largest, min(headroom, self._source.available()))

    # --- arenas ------------------------------------------------------------------------------------

    def reclaim(self) -> int:
        """Drain the caches, release every wholly free arena, and return how many bytes were unmapped (I10)."""
        self._drain()
        return self._release_idle(keep=0)

    def _drain(self) -> None:
        """Give all cached buffers to the free list, small sizes first, the oldest of a size first; release nothing yet."""
        for size, stack in sorted(self._cache.items()):
            for base in stack:
                self._holes.give(base, size)
            self._drained += len(stack)
            stack.clear()

    def _release_idle(self, keep: int) -> int:
        """Release wholly free arenas but for the ``keep`` lowest, and return how many bytes were unmapped."""
        before = self._mapped
        self._idle = [base for base in self._arenas if self._is_idle(base)]
        for arena in self._idle[keep:]:
            self._release_arena(arena)
        del self._idle[keep:]
        return before - self._mapped

    def _take_harder(self, request: Placement) -> int:
        """Find a place for a request that no hole admits: import; else drain; else release and import; else refuse."""
        if request.possible:
            base = self._import_for(request)
            if base < 0 and any(self._cache.values()):
                self._drain()
                base = self._holes.place(request)
                if base >= 0 and self._release.keep is not None:
                    self._release_idle(self._release.keep)
            if base < 0 and self._release_idle(keep=0):
                base = self._import_for(request)
            if base >= 0:
                return base
        self._refusals += 1
        raise Refusal(
            request,
            tuple(self._holes.size_at.items()),
            self._mapped,
            self._kva_limit,
            self._granule,
            self._source.available(),
        ).error()

    def _import_for(self, request: Placement) -> int:
        """Import an arena that admits the request, and carve it there; return the base, or -1 with nothing imported."""
        headroom = round_down(max(self._kva_limit - self._mapped, 0), self._granule)
        need = round_up(request.size, self._granule)
        if need > headroom:
            return -1
        sure = round_up(request.sure_size, self._granule)
        for size in dict.fromkeys(min(wanted, headroom) for wanted in (max(self._arena_size, sure), sure, need)):
            try:
                arena = self._source.map(size)
            except ExhaustionError:
                continue
            self._enter_arena(arena, size)
            base = self._holes.place(request)
            if base >= 0:
                return base
            self._release_arena(arena)
        return -1

    def _enter_arena(self, base: int, size: int) -> None:
        index = self._arenas.bisect_left(base)
        for other, length in self._arenas.items()[max(index - 1, 0) : index + 1]:
            if base < other + length and other < base + size:
                raise SpanOverlapError((base, size), (other, length), "the source returned part of the arena")
        if base % self._quantum:
            raise SpanOverlapError((base, size), None, f"the source returned a base off the quantum {self._quantum}")
        self._arenas[base] = size
        self._smallest_arena = min(self._smallest_arena, size)
        self._imports += 1
        self._mapped += size
        self._peak_mapped = max(self._peak_mapped, self._mapped)
        self._holes.insert(base, size)

    def _is_idle(self, arena: int) -> bool:
        return arena in self._arenas and self._holes.size_at.get(arena) == self._arenas[arena]

    def _settle(self, address: int) -> None:
        """Release the arena around an address if it has just become wholly free and enough others are kept."""
        arena: int = self._arenas.peekitem(self._arenas.bisect_right(address) - 1)[0]
        keep = self._release.keep
        if keep is None or not self._is_idle(arena):
            return
        self._idle = [base for base in self._idle if base != arena and self._is_idle(base)]
        if len(self._idle) < keep:
            self._idle.append(arena)
        else:
            self._release_arena(arena)

    def _release_arena(self, arena: int) -> None:
        size = self._arenas[arena]
        self._source.unmap(arena, size)
        self._holes.remove(arena, size)
        del self._arenas[arena]
        self._mapped -= size
        self._releases += 1
        if size == self._smallest_arena:
            self._smallest_arena = min(self._arenas.values(), default=MAX_SIZE)

    # --- errors ------------------------------------------------------------------------------------

    def _in_the_way(self, extent: Extent) -> SpanOverlapError:
        wanted = (extent.base, extent.size)
        for segment in self.segments():
            if segment.kind is not Kind.FREE and segment.base < extent.end and extent.base < segment.end:
                return SpanOverlapError(
                    wanted, (segment.base, segment.size), f"overlaps the {segment.kind.value} segment"
                )
        return SpanOverlapError(wanted, None, "does not lie in one arena")

    # --- what it holds -----------------------------------------------------------------------------

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order.

        Complexity: O(n log n) for n segments and bases ever freed.
        """
        found = [(base, size, Kind.FREE) for base, size in self._holes.size_at.items()]
        found += [(base, size, Kind.BUSY) for base, size in self._busy.items() if size]
        found += [(base, size, Kind.CACHED) for size, stack in self._cache.items() for base in stack]
        found.sort(key=lambda item: item[:2])
        segments, arenas, at = [], list(self._arenas), 0
        for base, size, kind in found:
            while at + 1 < len(arenas) and arenas[at + 1] <= base:
                at += 1
            segments.append(Segment(base, size, kind, arenas[at] if arenas else -1))
        return tuple(segments)

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value; all exact.

        Complexity: O(h + a) for h holes and a arenas.
        """
        holes = self._holes
        free = sum(holes.size_at.values())
        cached = sum(size * len(stack) for size, stack in self._cache.items())
        return SpaceStats(
            mapped=self._mapped,
            live=self._mapped - free - cached,
            cached=cached,
            free=free,
            largest_hole=holes.largest,
            holes=len(holes),
            arenas=len(self._arenas),
            peak_mapped=self._peak_mapped,
            allocs=self._n_allocs,
            frees=self._n_frees,
            cache_hits=self._cache_hits,
            drained=self._drained,
            holes_visited=holes.visits,
            coalesces=holes.coalesces,
            imports=self._imports,
            releases=self._releases,
            resizes_in_place=self._resizes_in_place,
            resizes_moved=self._resizes_moved,
            refusals=self._refusals,
        )

    @property
    def _n_allocs(self) -> int:
        return self._holes.takes + self._cache_hits + self._reserves

    @property
    def _n_frees(self) -> int:
        """Frees that were given to the holes, and those into the cache: what left it again, what it holds, what was drained."""
        return self._frees + self._cache_hits + sum(map(len, self._cache.values())) + self._drained

    def render(self, width: int = 64) -> str:
        """Draw the arenas as text, ``width`` characters each: ``#`` busy, ``c`` cached, ``.`` free, ``+`` a mixture."""
        return draw(self._arenas, self.segments(), width)

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant (I1 to I10), recomputed from arenas, busy table, stacks and holes."""
        found: list[Violation] = []

        def report(code: str, message: str) -> None:
            found.append(Violation(code, message))

        arenas = dict(self._arenas)
        for (base, size), (behind, _) in pairwise(arenas.items()):
            if base + size > behind:
                report("I2", f"arena {base:#x}+{size} overlaps arena {behind:#x}")
        for base, size in arenas.items():
            if not self._source.maps(base, size):
                report("I2", f"arena {base:#x}+{size} is not mapped in the source")
        holes = self._holes.size_at
        parked = {base: size for size, stack in self._cache.items() for base in stack}
        if len(parked) != sum(map(len, self._cache.values())):
            report("I6", "an address is cached twice")
        busy = {base: size for base, size in self._busy.items() if size}
        free = [*holes.items(), *parked.items()]
        strays = _strays(busy, free, arenas)
        for base in strays:
            report("I6", f"busy {base:#x}+{busy[base]} lies in free space or outside the arenas")
        allocs, frees = self._n_allocs, self._n_frees
        if allocs - frees != len(busy) - len(strays):
            report("I6", f"{allocs} allocs less {frees} frees do not make {len(busy)} buffers")
        segments = sorted([*free, *((base, size) for base, size in busy.items() if base not in strays)])
        for (base, size), (behind, _) in pairwise(segments):
            if base + size > behind:
                report("I1", f"segment {base:#x}+{size} overlaps segment {behind:#x}")
        if _union(segments) != _union(sorted(arenas.items())):
            report("I1", "the segments do not cover the arenas exactly")
        for base, size in segments:
            if not _inside(arenas, base, size):
                report("I4", f"segment {base:#x}+{size} crosses the boundary of an arena")
        for base, size in holes.items():
            end = base + size
            if end in holes and end not in arenas:
                report("I3", f"holes {base:#x}+{size} and {end:#x}+{holes[end]} were not joined")
        if sorted(self._holes.by_size()) != sorted(holes.items()):
            report("I5", "the index by size holds other holes than the index by base")
        for fault in self._holes.index_faults():
            report("I5", fault)
        if self._holes.start_of != {base + size: base for base, size in holes.items()}:
            report("I5", "the index by end holds other holes than the index by base")
        for base, size in [*holes.items(), *parked.items(), *busy.items(), *arenas.items()]:
            if base % self._quantum or size % self._quantum or size <= 0:
                report("I8", f"{base:#x}+{size} is not a positive multiple of the quantum {self._quantum}")
        if self._mapped != sum(arenas.values()):
            report("I7", f"mapped is {self._mapped}, the arenas hold {sum(arenas.values())}")
        if self._peak_mapped < self._mapped:
            report("I7", f"the peak of mapped is {self._peak_mapped}, below {self._mapped}")
        if self._imports - self._releases != len(arenas):
            report("I7", f"{self._imports} imports less {self._releases} releases do not make {len(arenas)} arenas")
        if self._smallest_arena > min(arenas.values(), default=MAX_SIZE):
            report("I7", f"the smallest arena is given as {self._smallest_arena}")
        if self._mapped > self._kva_limit:
            report("I9", f"{self._mapped} bytes are mapped, more than the limit {self._kva_limit}")
        idle = sum(1 for base, size in arenas.items() if holes.get(base) == size)
        if self._release.keep is not None and idle > self._release.keep:
            report("I10", f"{idle} wholly free arenas are kept, the release rule is {self._release}")
        return tuple(found)

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
        found = self.violations()
        if found:
            raise InvariantViolation(found, self.render())


def _inside(arenas: dict[int, int], base: int, size: int) -> bool:
    return any(arena <= base and base + size <= arena + length for arena, length in arenas.items())


def _strays(busy: dict[int, int], free: list[tuple[int, int]], arenas: dict[int, int]) -> list[int]:
    """Return the bases of busy segments that overlap free space, or lie in no arena."""
    return [
        base
        for base, size in busy.items()
        if any(base < other + length and other < base + size for other, length in free)
        or not any(base < arena + length and arena < base + size for arena, length in arenas.items())
    ]


def _union(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join sorted ranges that touch or overlap, as (base, end)."""
    joined: list[tuple[int, int]] = []
    for base, size in ranges:
        if joined and base <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], base + size))
        else:
            joined.append((base, base + size))
    return joined
