"""The reference: buffers carved from large arenas, coalesced when freed; keeps I1 to I10.

Terms.  An *arena* is a range that was imported from the source in one mapping.  It is tiled by *segments*: *busy* ones
(buffers), *cached* ones and *holes*.  Each segment has a boundary tag, which is linked with its neighbours' tags.  The *free
list* (:mod:`coalloc.space.holes`) keeps the tags, and indexes the holes of all arenas by size or address.  A *quantum cache*
keeps freed buffers of one small size on a bounded stack.  *Mapped* bytes are those of all arenas; they never exceed
``kva_limit`` (I9).

Life of a buffer.  ``alloc`` rounds the size up to the quantum.  It takes the newest cached buffer of that size, or if there is
none carves from the hole that the fit chooses.  ``free`` puts the buffer on its stack if there is room, and else gives it to
the free list, which coalesces it with the holes on either side by following two links.  Arenas end in walls, and no hole
coalesces across a wall (I4), because arenas are released one by one.

When no hole admits a request.  (1) An arena is imported: ``arena_size`` bytes, or the request's own size if that is larger, or
what the limit leaves; if the source refuses that size, what the request needs.  (2) If that fails, the caches are drained and
the holes are searched again.  (3) If that fails, wholly free arenas are released and the source is asked again.  (4) If that
fails, the call refuses.  So a refusal means that no hole admits the request even with drained caches, and that the limit or the
source forbids the arena that it would need (``Completeness.EXACT``).  A refusal has done what ``reclaim`` does, and no more.

Constraints.  The source decides where an arena lies.  So for a constrained request at most one arena of each of three sizes is
tried (usual, sure to admit it, bare), and released at once if it does not admit the request.  Hence there is no import loop,
and a request with bounds may be refused although a later arena might have lain within them.  A request whose constraints
contradict each other is refused at once.

When an arena is wholly free.  The release rule keeps a number of such arenas mapped (one by default), so that a load that
swings about an arena's edge does not import and release in turn.  When that number is reached, the arena that became free last
is released.  ``reclaim`` releases all of them.

Freed addresses.  The base of a freed buffer is remembered, so that a second free can be told from a wild one.  This takes at
most one entry for each address that was ever handed out.

Differences from the kernel: there is one thread and no lock; a dict finds busy segments, where vmem hashes them into chains.

Some figures are derived on demand, to keep counters out of the hot path.  Live bytes are mapped less free and cached bytes.
What was freed is what was handed out and is not live.  The checker recounts the segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from coalloc.contract import (
    RETAIN,
    Bounds,
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
    CoallocError,
    ExhaustionError,
    InvalidRequestError,
    SpanOverlapError,
    Violation,
)
from coalloc.extent import Extent
from coalloc.space.arenas import Arenas
from coalloc.space.checks import bad_free, require_multiple, require_quantum
from coalloc.space.holes import BUSY, CACHED, FREED, HOLE, WALL, Holes, SizeHoles, Tag, make_holes
from coalloc.space.picture import draw
from coalloc.space.placement import Placement
from coalloc.space.protocol import Kind, Segment, SpaceSource, SpaceStats
from coalloc.space.refusal import Refusal
from coalloc.space.tiling import tiling_violations
from coalloc.units import MAX_ADDRESS, MAX_SIZE, PAGE_SIZE, MiB, require_size, round_up
from coalloc.vm.source import Source

__all__ = ["CACHE_DEPTH", "CoalescingSpace"]

CACHE_DEPTH = 256
"""The most buffers of one size that a quantum cache keeps."""

_WORK: Final = {
    Fit.BEST: Work.CONSTANT,
    Fit.FIRST: Work.LOG,
    Fit.NEXT: Work.LOG,
    Fit.INSTANT: Work.LINEAR,
    Fit.CLASS_BEST: Work.LINEAR,
}
"""Growth in steps of the interpreter, without the moves of a sorted list.  The last two scan one size class at worst."""

FITS: Final = (Fit.BEST, Fit.FIRST, Fit.NEXT, Fit.INSTANT, Fit.CLASS_BEST)
"""The fits that the design has."""


class CoalescingSpace(SpaceSource):
    """Carve buffers from arenas, and coalesce them when they are freed.

    Args:
        source: The source of the arenas.
        kva_limit: The most bytes that are ever mapped, > 0; only whole granules of the source are used.
        arena_size: Bytes of an arena, a multiple of the source's granule; the last one under the limit may be smaller, and
            a larger request gets an arena of its own size.
        quantum: A power of two that divides the source's granule; every base and size is a multiple of it.
        fit: The fit that chooses among the holes.
        quantum_cache: The largest size in bytes that is cached when it is freed, instead of coalesced; 0 caches nothing.
        release: The rule that says how many wholly free arenas are kept.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        I1 to I10 hold at every return.  A call that raises anything but ExhaustionError changes nothing (I11).  A call that
        raises ExhaustionError has done what ``reclaim`` does, and counted the refusal.

    Complexity:
        ``alloc`` and ``free`` cost as much as the free list's ``take`` and ``give`` (BEST: O(log d) for d different hole
        sizes), or O(1) from the cache.  A release is O(n) in the arenas that the release rule keeps.  ``stats`` is O(h + a)
        for h holes and a arenas, ``segments`` O(n log n).

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
        "_at",
        "_cache",
        "_cache_hits",
        "_drained",
        "_exact",
        "_exact_takes",
        "_holes",
        "_low_bits",
        "_quantum",
        "_quantum_cache",
        "_refusals",
        "_reserves",
        "_resizes_in_place",
        "_resizes_moved",
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
        require_quantum(quantum, source.granule)
        if type(quantum_cache) is not int or quantum_cache < 0 or quantum_cache % quantum:
            raise InvalidRequestError(
                "quantum_cache", quantum_cache, f"must be 0 or a multiple of the quantum {quantum}"
            )
        if fit not in FITS:
            raise InvalidRequestError("fit", fit, "must be Fit.BEST, FIRST, NEXT, INSTANT or CLASS_BEST")
        self.fit = fit
        self._arenas = Arenas(source, kva_limit=kva_limit, release=release, is_idle=self._is_idle)
        self._arena_size = require_multiple("arena_size", arena_size, source.granule)
        self._quantum = quantum
        self._low_bits = quantum - 1
        self._quantum_cache = quantum_cache
        self._holes: Holes = make_holes(fit, quantum)
        self._at = self._holes.at
        self._exact: dict[int, dict[Tag, None]] = self._holes.bins if isinstance(self._holes, SizeHoles) else {}
        self._cache: dict[int, list[Tag]] = {}  # by size; a stack is made when it is first needed
        self._cache_hits = self._drained = self._exact_takes = self._reserves = 0
        self._resizes_in_place = self._resizes_moved = self._refusals = 0

    @property
    def contract(self) -> Contract:
        """What this space promises, as configured."""
        return Contract(
            fit=self.fit,
            completeness=Completeness.EXACT,
            coalescing=Coalescing.DEFERRED if self._quantum_cache else Coalescing.IMMEDIATE,
            release=self._arenas.release,
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
        return self._arenas.kva_limit

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
        # A stack or bin of exactly this size needs no search and no check of the size, since it exists for legal sizes only.
        # On churn at 1,000 live buffers, calls that all go by way of the free list, here and in free, take 1.5 times as long
        # (python -m benchmarks.tricks; docs/performance.md).
        if type(size) is int:
            if self._quantum_cache and (stack := self._cache.get(size)):
                tag = stack.pop()
                tag.state = BUSY
                self._cache_hits += 1
                return tag.base
            if bin_ := self._exact.get(size):
                tag = bin_.popitem()[0]
                tag.state = BUSY
                self._exact_takes += 1
                return tag.base
            if not size & self._low_bits and 0 < size <= MAX_SIZE:
                return (self._holes.take(size) or self._take_harder(Placement(size, self._quantum, self._quantum))).base
        return CoalescingSpace.alloc(self, round_up(require_size(size), self._quantum))

    def free(self, base: int) -> None:
        """Free a buffer: put it in the cache, or coalesce it with the holes on either side.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer; the error says what it is instead.
        """
        if type(base) is not int or (tag := self._at.get(base)) is None or tag.state:  # BUSY is 0
            raise self._bad_free(base)
        size = tag.size
        if size <= self._quantum_cache:
            stack = self._cache.get(size)
            if stack is None:
                stack = self._cache[size] = []
            if len(stack) < CACHE_DEPTH:
                stack.append(tag)
                tag.state = CACHED
                return
        # Between two segments that are not free nothing is joined: only a bin changes.  What this saves stands in alloc.
        before, after = tag.before, tag.after
        if (
            before.state <= 0
            and after.state <= 0
            and before is not after
            and (bin_ := self._exact.get(size)) is not None
        ):
            bin_[tag] = None
            tag.state = FREED
            return
        hole = self._holes.give(tag)
        if hole.before is hole.after:  # both are the wall: the arena is one hole
            self._settle(hole.base)

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = MAX_ADDRESS
    ) -> int:
        """Hand out a range that meets vmem(9)'s constraints, and return its base.

        The fit chooses among the holes that admit the request, and the request gets the lowest admissible place in that hole.
        The cache is not used.  If no hole admits the request, an arena is imported, and released if it does not either.

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
        request = Placement.of(size, self._quantum, Bounds(align, phase, nocross, lo, hi))
        return (self._holes.place(request) or self._take_harder(request)).base

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range, which must lie in a mapped arena; it is freed like any other buffer.

        Raises:
            InvalidRequestError: If its base or size is not a multiple of the quantum.
            SpanOverlapError: If it does not lie in one hole; ``existing`` is the range in the way, or None where nothing is
                mapped.

        Complexity: O(h) for h holes; O(n) for n segments when it fails.
        """
        if type(extent) is not Extent or extent.base % self._quantum or extent.size % self._quantum:
            raise InvalidRequestError(
                "extent", str(extent), f"must be an Extent aligned to the quantum {self._quantum}"
            )
        hole = next((hole for hole in self._holes if hole.base <= extent.base and extent.end <= hole.end), None)
        if hole is None:
            raise self._in_the_way(extent)
        self._holes.carve(hole, extent.base, extent.size)
        self._reserves += 1

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size: in place if it shrinks or the hole behind it suffices, else by moving it.

        A move allocates before it frees, so that a refusal leaves the buffer as it was (PI4).

        Args:
            base: Base of a live buffer.
            size: Bytes, 1 .. 2**63, rounded up to the quantum.

        Returns:
            The base of the buffer: ``base``, unless it moved.

        Raises:
            BadFreeError, InvalidRequestError, KvaLimitError, NoSpaceError: As ``free`` and ``alloc``.
        """
        tag = self._tag_of(base)
        size = round_up(require_size(size), self._quantum)
        if size == tag.size:
            return base
        if size < tag.size:
            self._holes.shrink(tag, size)
            self._resizes_in_place += 1
            return base
        if self._grow(tag, size):
            return base
        try:
            moved = self.alloc(size)
        except ExhaustionError:
            if not self._grow(tag, size):  # the failing alloc may have drained the buffer behind
                raise
            self._refusals -= 1
            return base
        self.free(base)
        self._resizes_moved += 1
        return moved

    def _grow(self, tag: Tag, size: int) -> bool:
        """Grow a buffer into the hole behind it if the hole is large enough, and return whether it was."""
        grown = self._holes.grow(tag, size)
        self._resizes_in_place += grown
        return grown

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``, as rounded.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        return self._tag_of(base).size

    def _tag_of(self, base: int) -> Tag:
        tag = self._at.get(base) if type(base) is int else None
        if tag is None or tag.state != BUSY:
            raise self._bad_free(base)
        return tag

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range inside an arena."""
        self._arenas.source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range inside an arena."""
        self._arenas.source.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now without draining or releasing: the largest hole or importable arena."""
        return max(self._holes.largest, min(self._arenas.headroom, self._arenas.source.available()))

    # --- arenas ------------------------------------------------------------------------------------

    def reclaim(self) -> int:
        """Drain the caches, release every wholly free arena, and return how many bytes were unmapped (I10)."""
        self._drain()
        return self._release_idle(keep=0)

    def _drain(self) -> None:
        """Give all cached buffers to the free list, small sizes first and the oldest of a size first, and release nothing."""
        for _, stack in sorted(self._cache.items()):
            for tag in stack:
                self._holes.give(tag)
            self._drained += len(stack)
            stack.clear()

    def _release_idle(self, keep: int) -> int:
        """Release wholly free arenas except the ``keep`` lowest, and return how many bytes were unmapped."""
        before = self._arenas.mapped
        for arena in self._arenas.surplus(keep):
            self._release_arena(arena)
        return before - self._arenas.mapped

    def _take_harder(self, request: Placement) -> Tag:
        """Find a place for a request that no hole admits: import, then drain, then release and import, then refuse."""
        if request.possible:
            tag = self._import_for(request)
            if tag is None and any(self._cache.values()):
                self._drain()
                tag = self._holes.place(request)
                if tag is not None and self._arenas.release.keep is not None:
                    self._release_idle(self._arenas.release.keep)
            if tag is None and self._release_idle(keep=0):
                tag = self._import_for(request)
            if tag is not None:
                return tag
        self._refusals += 1
        raise Refusal(
            request,
            tuple((hole.base, hole.size) for hole in self._holes),
            self._arenas.mapped,
            self._arenas.kva_limit,
            self._arenas.granule,
            self._arenas.source.available(),
        ).error()

    def _import_for(self, request: Placement) -> Tag | None:
        """Import an arena that admits the request and carve the request from it, or return None if none was imported."""
        granule, headroom = self._arenas.granule, self._arenas.headroom
        need = round_up(request.size, granule)
        if need > headroom:
            return None
        sure = round_up(request.sure_size, granule)
        for size in dict.fromkeys(min(wanted, headroom) for wanted in (max(self._arena_size, sure), sure, need)):
            arena = self._arenas.take((size,))
            if arena >= 0:
                self._holes.add(arena, size)
                tag = self._holes.place(request)
                if tag is None:
                    self._release_arena(arena)
                    continue
                if not arena <= tag.base < arena + size:  # somebody freed a buffer while the source mapped
                    self._settle(arena)
                return tag
        return None

    def _is_idle(self, arena: int) -> bool:
        hole = self._at.get(arena)
        return hole is not None and hole.state > 0 and hole.before is hole.after

    def _settle(self, arena: int) -> None:
        """Release an arena that has become wholly free, if enough other free arenas are kept."""
        surplus = self._arenas.settle(arena)
        if surplus >= 0:
            self._release_arena(surplus)

    def _release_arena(self, arena: int) -> None:
        self._arenas.give_back(arena)  # first: if the source fails, the arena is still there
        self._holes.drop(self._at[arena])

    # --- errors ------------------------------------------------------------------------------------

    def _bad_free(self, base: int) -> CoallocError:
        """Return the error for an address that is not the base of a live buffer."""
        live = ((tag.base, tag.size) for tag in self._at.values() if tag.state == BUSY)
        tag = self._at.get(base) if type(base) is int else None
        freed = (base,) if tag is not None and tag.state in (FREED, CACHED) else self._holes.freed
        return bad_free(base, live, freed)

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
        """Return all segments in address order, by following the tags of each arena.

        Complexity: O(n) for n segments.
        """
        return tuple(_segment(tag, arena) for arena, _ in self._arenas for tag in self._holes.arena(arena))

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value; all exact.

        Complexity: O(h + c) for h holes and c cached sizes.
        """
        holes, arenas = self._holes, self._arenas
        sizes = [hole.size for hole in holes]
        free = sum(sizes)
        cached = sum(size * len(stack) for size, stack in self._cache.items())
        return SpaceStats(
            mapped=arenas.mapped,
            live=arenas.mapped - free - cached,
            cached=cached,
            free=free,
            largest_hole=holes.largest,
            holes=len(sizes),
            arenas=len(arenas),
            peak_mapped=arenas.peak,
            allocs=self._n_allocs,
            frees=self._n_frees,
            cache_hits=self._cache_hits,
            drained=self._drained,
            holes_visited=holes.visits + self._exact_takes,
            coalesces=holes.coalesces,
            imports=arenas.imports,
            releases=arenas.releases,
            resizes_in_place=self._resizes_in_place,
            resizes_moved=self._resizes_moved,
            refusals=self._refusals,
        )

    @property
    def _n_allocs(self) -> int:
        return self._holes.takes + self._exact_takes + self._cache_hits + self._reserves

    @property
    def _n_frees(self) -> int:
        """The number of frees: allocs less live buffers."""
        idle = sum(1 for _ in self._holes) + sum(map(len, self._cache.values()))
        return self._n_allocs - (len(self._at) - idle)

    def render(self, width: int = 64) -> str:
        """Draw the arenas as text, ``width`` characters each: ``#`` busy, ``c`` cached, ``.`` free, ``+`` a mixture."""
        return draw(dict(self._arenas), self.segments(), width)

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant (I1 to I10), recomputed from the links of the tags without trust in any index."""
        return tuple(self._violations())

    def _violations(self) -> Iterator[Violation]:
        holes = self._holes
        yield from self._arenas.violations()
        walked, faults = holes.linked(base for base, _ in self._arenas)
        yield from tiling_violations(self._arenas, (_segment(tag, arena) for tag, arena in walked), self._quantum)
        for (tag, arena), (behind, other) in pairwise(walked):
            if tag.state > 0 and behind.state > 0 and arena == other:
                yield Violation("I3", f"{tag.base:#x}+{tag.size} and what follows are both free")
        if holes.wall.state != WALL:
            yield Violation("I4", "the wall between arenas has the state of a segment")
        tags = {tag for tag, _ in walked}
        of_state = {state: {tag for tag in tags if tag.state == state} for state in (BUSY, CACHED, HOLE, FREED)}
        odd = tags.difference(*of_state.values())
        listed = list(holes)
        if len(listed) != len(set(listed)) or set(listed) - odd != of_state[HOLE] | of_state[FREED]:
            faults.append("the index holds other holes than the arenas")
        for fault in faults + holes.index_faults():
            yield Violation("I5", fault)
        yield from (Violation("I6", f"the tag of {tag.base:#x} has the state {tag.state}") for tag in odd)
        if self._at != {tag.base: tag for tag in tags}:
            yield Violation("I6", "the table of tags holds other segments than the arenas")
        stacked = [tag for stack in self._cache.values() for tag in stack]
        if len(stacked) != len(set(stacked)) or set(stacked) - odd != of_state[CACHED]:
            yield Violation("I6", "the stacks hold other buffers than those that are cached")
        if any(tag.size != size for size, stack in self._cache.items() for tag in stack):
            yield Violation("I6", "a buffer is on the stack of another size")
        if any(len(stack) > CACHE_DEPTH or size > self._quantum_cache for size, stack in self._cache.items()):
            yield Violation("I6", "more is cached than a cache may hold")
        handed_out = holes.freed.union(tag.base for state in (BUSY, CACHED, FREED) for tag in of_state[state])
        if self._n_allocs < len(handed_out):
            yield Violation("I6", f"{self._n_allocs} allocs have handed out {len(handed_out)} different bases")
        for base in holes.freed:
            if base % self._quantum:
                yield Violation("I8", f"the freed base {base:#x} is no multiple of the quantum {self._quantum}")


def _segment(tag: Tag, arena: int) -> Segment:
    return Segment(tag.base, tag.size, _KINDS.get(tag.state, Kind.FREE), arena)


_KINDS: Final = {BUSY: Kind.BUSY, CACHED: Kind.CACHED}
"""The kind of a segment by its tag's state; every other state is free."""
