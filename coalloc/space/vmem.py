"""FreeBSD's vmem: boundary tags, segregated free lists and instant fit; keeps I1 to I10.

A *tag* describes a segment.  The tags of a span are linked in the order of addresses behind a tag for the span itself, so a
free finds its neighbours by following two links and never crosses into another span.  Free tags are also on a *free list* by
size class: one class for each size up to 32 quanta, then one for each power of two (B32).  Busy tags are found by address.

M_FIRSTFIT, "instant fit", looks at the first segment of each list whose members are all large enough.  It falls back to
M_BESTFIT, which searches the lists from the request's own class upwards (B33).  New free segments go to the front of their
list, so the newest is found first.

A *static* span is added with ``add`` and stays.  An *imported* span is released as soon as it is wholly free (B34).  Imports
are rounded up to ``import_quantum``.  *Quantum caches* keep freed buffers of small sizes.  A cached buffer is not coalesced
with its neighbours until its cache is drained, and a request that finds no place drains the caches before it is refused (B36).

``stats().largest_hole`` is the least size of the highest class that is not empty.  This is a lower bound, as
vmem_size(VMEM_MAXFREE) gives it (B38).

Differences from the kernel: if an import rounded to ``import_quantum`` is refused or exceeds the limit, an import of what the
request needs is tried; an import for a constrained request is large enough to be sure to admit it; a cache is one bounded
stack for each size; nobody sleeps; the reserve of tags is not modelled.

Source: FreeBSD sys/kern/subr_vmem.c of 10.2 and, for what is newer, of commit 898f32a49d55; vmem(9); B32 to B38; Bonwick and
Adams, USENIX ATC 2001.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coalloc.contract import EAGER, Bounds, Coalescing, Constraint, Contract, Fit, Resize, Work
from coalloc.errors import (
    InvalidRequestError,
    SpanOverlapError,
    Violation,
)
from coalloc.extent import Extent
from coalloc.space.arenas import Arenas
from coalloc.space.checks import bad_free, require_multiple, require_quantum
from coalloc.space.holes import size_class
from coalloc.space.picture import draw
from coalloc.space.placement import Placement
from coalloc.space.protocol import Kind, Segment, SpaceSource, SpaceStats
from coalloc.space.refusal import Refusal
from coalloc.space.tiling import tiling_violations
from coalloc.units import MAX_ADDRESS, PAGE_SIZE, MiB, is_power_of_two, require_size, round_down, round_up
from coalloc.vm.source import Source

__all__ = ["QCACHE_DEPTH", "VmemSpace"]

QCACHE_DEPTH: Final = 128
"""The most buffers of one size that a quantum cache keeps."""
_MOST_QCACHES: Final = 16


class _Tag:
    """A boundary tag of a span (``kind`` None) or of a segment in a span."""

    __slots__ = ("after", "before", "kind", "size", "span", "start")

    def __init__(self, start: int, size: int, kind: Kind | None, span: _Tag | None) -> None:
        self.start = start
        self.size = size
        self.kind = kind
        self.span = self if span is None else span
        self.before: _Tag | None = None
        self.after: _Tag | None = None


class VmemSpace(SpaceSource):
    """Hand out segments of spans, as vmem(9) does.

    Args:
        source: The source of imported spans.
        kva_limit: The most bytes of imported and static spans together, > 0.
        import_quantum: A multiple of the source's granule; imports are rounded up to a multiple of it.
        quantum: A power of two that divides the source's granule; every base and size is a multiple of it.
        strategy: Fit.INSTANT (M_FIRSTFIT) or Fit.CLASS_BEST (M_BESTFIT).
        qcache_max: The largest size in bytes that is cached when it is freed, at most 16 quanta; 0 caches nothing.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        I1 to I10 hold at every return.  A call that raises changes nothing, except that a refusal has reclaimed first.

    Complexity:
        ``alloc`` is O(c) for c classes (90) if instant fit finds a segment, else O(members of one class + c).  ``free`` is
        O(1).

    Source:
        FreeBSD subr_vmem.c; B32 to B38.

    >>> from coalloc.vm import KernelMap
    >>> arena = VmemSpace(KernelMap(), kva_limit=8 * MiB)
    >>> a, b = arena.alloc(16384), arena.alloc(4096)
    >>> arena.stats().largest_hole  # 4 MiB less 5 pages are in the class of 2 MiB
    2097152
    """

    __slots__ = (
        "_allocs", "_arenas", "_busy", "_cache", "_cache_hits", "_coalesces", "_drained", "_freed", "_frees", "_import_quantum",
        "_lists", "_moved", "_peak_mapped", "_qcache_max", "_quantum", "_refusals", "_spans", "_static", "_strategy", "_visits",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        *,
        kva_limit: int,
        import_quantum: int = 4 * MiB,
        quantum: int = PAGE_SIZE,
        strategy: Fit = Fit.INSTANT,
        qcache_max: int = 0,
    ) -> None:
        granule = source.granule
        require_quantum(quantum, granule)
        if strategy not in (Fit.INSTANT, Fit.CLASS_BEST):
            raise InvalidRequestError("strategy", strategy, "must be Fit.INSTANT or Fit.CLASS_BEST")
        if type(qcache_max) is not int or not 0 <= qcache_max <= _MOST_QCACHES * quantum or qcache_max % quantum:
            raise InvalidRequestError("qcache_max", qcache_max, f"must be a multiple of {quantum}, at most 16 of them")
        self._arenas = Arenas(source, kva_limit=kva_limit, release=EAGER, is_idle=self._is_idle)
        self._import_quantum = require_multiple("import_quantum", import_quantum, granule)
        self._quantum = quantum
        self._strategy = strategy
        self._qcache_max = qcache_max
        self._static: dict[int, int] = {}  # sizes of the static spans, by base
        self._spans: dict[int, _Tag] = {}
        self._lists: dict[int, dict[_Tag, None]] = {}  # free tags by class, the newest last; none is empty
        self._busy: dict[int, _Tag] = {}
        self._cache: dict[int, list[_Tag]] = {}  # by size
        self._freed: set[int] = set()
        self._allocs = self._frees = self._cache_hits = self._drained = self._coalesces = 0
        self._moved = self._refusals = self._visits = self._peak_mapped = 0

    @property
    def contract(self) -> Contract:
        """What this space promises, as configured."""
        return Contract(
            fit=self._strategy,
            coalescing=Coalescing.DEFERRED if self._qcache_max else Coalescing.IMMEDIATE,
            release=EAGER,
            constraints=frozenset(Constraint),
            resize=Resize.MOVING,
            exact_stats=False,
            work=Work.LINEAR,
        )

    @property
    def quantum(self) -> int:
        """Every base and size is a multiple of it."""
        return self._quantum

    @property
    def kva_limit(self) -> int:
        """The most bytes that are ever imported and added."""
        return self._arenas.kva_limit

    def add(self, span: Extent) -> None:
        """Add a static span: address space that was not imported and is never released (vmem_add).

        Raises:
            InvalidRequestError: If it is not a multiple of the quantum, or more than the limit leaves.
            SpanOverlapError: If it overlaps another span.
        """
        if type(span) is not Extent or span.base % self._quantum or span.size % self._quantum:
            raise InvalidRequestError("span", str(span), f"must be an Extent aligned to the quantum {self._quantum}")
        for tag in self._spans.values():
            if span.base < tag.start + tag.size and tag.start < span.end:
                raise SpanOverlapError((span.base, span.size), (tag.start, tag.size), "overlaps the span")
        if span.size > self.kva_limit - self._mapped:
            raise InvalidRequestError("span", str(span), f"kva_limit leaves {self.kva_limit - self._mapped} bytes")
        self._static[span.base] = span.size
        self._add_span(span.base, span.size)
        self._peak_mapped = max(self._peak_mapped, self._mapped)

    # --- hand out and take back ----------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes, rounded up to the quantum, and return the base (vmem_alloc).

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            KvaLimitError, NoSpaceError: If there is no place.
        """
        size = round_up(require_size(size), self._quantum)
        stack = self._cache.get(size)
        if stack:
            tag = stack.pop()
            tag.kind = Kind.BUSY
            self._busy[tag.start] = tag
            self._cache_hits += 1
            self._allocs += 1
            return tag.start
        return self._xalloc(Placement(size, self._quantum, self._quantum))

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = MAX_ADDRESS
    ) -> int:
        """Hand out a range that meets constraints, and return its base (vmem_xalloc); the caches are not used.

        Args:
            size: Bytes, 1 .. 2**63, rounded up to the quantum.
            align: The base is ``phase`` behind a multiple of this power of two; 0 asks for none.
            phase: A multiple of the quantum below ``align``.
            nocross: The range crosses no multiple of this power of two, which is at least ``size``; 0 asks for none.
            lo: Lowest address the range may hold.
            hi: Highest address the range may hold (inclusive).

        Raises:
            InvalidRequestError: For an argument outside its range.
            KvaLimitError, NoSpaceError: If there is no place; only one import is tried for a constrained request.
        """
        return self._xalloc(Placement.of(size, self._quantum, Bounds(align, phase, nocross, lo, hi)))

    def free(self, base: int) -> None:
        """Free a segment: put it in its quantum cache, or coalesce it with its neighbours (vmem_free, vmem_xfree).

        Raises:
            BadFreeError: If ``base`` is not the base of a live segment; the error says what it is instead.
        """
        tag = self._tag_of(base)
        del self._busy[base]
        self._freed.add(base)
        self._frees += 1
        if tag.size <= self._qcache_max:
            stack = self._cache.setdefault(tag.size, [])
            if len(stack) < QCACHE_DEPTH:
                tag.kind = Kind.CACHED
                stack.append(tag)
                return
        self._coalesce(tag)

    def resize(self, base: int, size: int) -> int:
        """Change a segment's size by allocating another segment and then freeing this one (PI4).

        Raises:
            BadFreeError, InvalidRequestError, KvaLimitError, NoSpaceError: As ``free`` and ``alloc``.
        """
        if round_up(require_size(size), self._quantum) == self.size_of(base):
            return base
        moved = self.alloc(size)
        self.free(base)
        self._moved += 1
        return moved

    def size_of(self, base: int) -> int:
        """Return the size of the live segment at ``base``, as rounded.

        Raises:
            BadFreeError: If ``base`` is not the base of a live segment.
        """
        return self._tag_of(base).size

    def _tag_of(self, base: int) -> _Tag:
        tag = self._busy.get(base) if type(base) is int else None
        if tag is None:
            raise bad_free(base, ((start, other.size) for start, other in self._busy.items()), self._freed)
        return tag

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range inside a span; pages of static spans are not modelled."""
        if not self._is_static(base):
            self._arenas.source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range inside a span; pages of static spans are not modelled."""
        if not self._is_static(base):
            self._arenas.source.discard(base, size)

    def _is_static(self, address: int) -> bool:
        return any(base <= address < base + size for base, size in self._static.items())

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now without draining: the largest free segment or importable span."""
        largest = max((tag.size for tag in self._free_tags()), default=0)
        return max(largest, min(self._headroom, self._arenas.source.available()))

    def reclaim(self) -> int:
        """Drain the caches, which releases every span that becomes free, and return how many bytes were unmapped."""
        before = self._arenas.mapped
        for _, stack in sorted(self._cache.items()):
            for tag in stack.copy():
                stack.pop(0)
                self._drained += 1
                self._coalesce(tag)
        return before - self._arenas.mapped

    # --- searching -----------------------------------------------------------------------------------

    def _xalloc(self, request: Placement) -> int:
        """Search, then import, then drain and search again, then import once more, then refuse."""
        found = self._search(request)
        if found is None and request.possible:
            found = self._import_for(request)
            if found is None and any(self._cache.values()):
                self.reclaim()
                found = self._search(request) or self._import_for(request)
        if found is None:
            self._refusals += 1
            holes = tuple((tag.start, tag.size) for tag in self._free_tags())
            error = Refusal(
                request, holes, self._mapped, self.kva_limit, self._arenas.granule, self._arenas.source.available()
            ).error()
            error.largest_hole = self._class_floor()
            raise error
        tag, start = found
        self._carve(tag, start, request.size)
        self._allocs += 1
        return start

    def _search(self, request: Placement) -> tuple[_Tag, int] | None:
        """Return the free tag that the strategy picks and the start of the request in it, or None."""
        for tag in self._candidates(request.size):
            self._visits += 1
            start = request.start_in(tag.start, tag.size)
            if start >= 0:
                return tag, start
        return None

    def _candidates(self, size: int) -> Iterator[_Tag]:
        quanta = size // self._quantum
        own = size_class(quanta)
        present = sorted(index for index in self._lists if index >= own)
        if self._strategy is Fit.INSTANT:
            sure = own if quanta <= 32 or is_power_of_two(quanta) else own + 1
            yield from (next(reversed(self._lists[index])) for index in present if index >= sure)
        for index in present:
            yield from reversed(self._lists[index])

    def _import_for(self, request: Placement) -> tuple[_Tag, int] | None:
        """Import a span that is sure to admit the request, or a bare one; release it if it does not admit the request."""
        granule, headroom = self._arenas.granule, self._headroom
        need = round_up(request.sure_size, granule)
        bare = round_up(request.size, granule)
        if bare > headroom:
            return None
        base = self._arenas.take((min(round_up(need, self._import_quantum), headroom), min(need, headroom), bare))
        if base < 0:
            return None
        size = self._arenas.size_at[base]
        for other, length in self._static.items():
            if base < other + length and other < base + size:
                self._arenas.give_back(base)
                raise SpanOverlapError((base, size), (other, length), "the source returned part of the static span")
        tag = self._add_span(base, size)
        self._peak_mapped = max(self._peak_mapped, self._mapped)
        start = request.start_in(tag.start, tag.size)
        if start >= 0:
            return tag, start
        self._release(tag)
        return None

    # --- tags ----------------------------------------------------------------------------------------

    def _add_span(self, base: int, size: int) -> _Tag:
        span = _Tag(base, size, None, None)
        tag = _Tag(base, size, Kind.FREE, span)
        self._spans[base] = span
        _link(span, tag)
        self._enter(tag)
        return tag

    def _carve(self, tag: _Tag, start: int, size: int) -> None:
        """Carve a busy segment out of a free one; the rests in front and behind become free segments of their own."""
        self._strike(tag)
        end = tag.start + tag.size
        if start > tag.start:
            front = _Tag(tag.start, start - tag.start, Kind.FREE, tag.span)
            assert tag.before is not None  # the span's tag at least
            _link(tag.before, front)
            _link(front, tag)
            self._enter(front)
        if end > start + size:
            back = _Tag(start + size, end - start - size, Kind.FREE, tag.span)
            if tag.after is not None:
                _link(back, tag.after)
            _link(tag, back)
            self._enter(back)
        tag.start, tag.size, tag.kind = start, size, Kind.BUSY
        self._busy[start] = tag

    def _coalesce(self, tag: _Tag) -> None:
        """Coalesce a segment with its free neighbours, and release its span if it is imported and now wholly free."""
        tag.kind = Kind.FREE
        after = tag.after
        if after is not None and after.kind is Kind.FREE:
            self._strike(after)
            tag.size += after.size
            self._unlink(after)
            self._coalesces += 1
        before = tag.before
        if before is not None and before.kind is Kind.FREE:
            self._strike(before)
            tag.start = before.start
            tag.size += before.size
            self._unlink(before)
            self._coalesces += 1
        self._enter(tag)
        if tag.size == tag.span.size and tag.span.start not in self._static:
            self._release(tag)

    @staticmethod
    def _unlink(tag: _Tag) -> None:
        assert tag.before is not None  # the span's tag at least
        tag.before.after = tag.after
        if tag.after is not None:
            tag.after.before = tag.before

    def _release(self, tag: _Tag) -> None:
        self._arenas.give_back(tag.span.start)  # first: if the source fails, the span is still there
        self._strike(tag)
        del self._spans[tag.span.start]

    def _enter(self, tag: _Tag) -> None:
        self._lists.setdefault(size_class(tag.size // self._quantum), {})[tag] = None

    def _strike(self, tag: _Tag) -> None:
        index = size_class(tag.size // self._quantum)
        del self._lists[index][tag]
        if not self._lists[index]:
            del self._lists[index]

    def _is_idle(self, base: int) -> bool:
        first = self._spans[base].after
        return first is not None and first.kind is Kind.FREE and first.size == self._spans[base].size

    # --- what it holds -----------------------------------------------------------------------------

    def _free_tags(self) -> list[_Tag]:
        return [tag for tags in self._lists.values() for tag in tags]

    def _tags(self) -> Iterator[_Tag]:
        """Yield the segments' tags in address order, by following the links."""
        for _, span in sorted(self._spans.items()):
            tag = span.after
            while tag is not None:
                yield tag
                tag = tag.after

    @property
    def _mapped(self) -> int:
        return self._arenas.mapped + sum(self._static.values())

    @property
    def _headroom(self) -> int:
        return round_down(max(self.kva_limit - self._mapped, 0), self._arenas.granule)

    def _class_floor(self) -> int:
        """Return the least size of the highest class that holds a segment (vmem_size of VMEM_MAXFREE)."""
        if not self._lists:
            return 0
        index = max(self._lists)
        return (index + 1 if index < 31 else 1 << (index - 26)) * self._quantum

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order, by following the tags."""
        return tuple(Segment(tag.start, tag.size, tag.kind or Kind.FREE, tag.span.start) for tag in self._tags())

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value; ``largest_hole`` is a lower bound (B38), the others are exact."""
        free = [tag.size for tag in self._free_tags()]
        cached = sum(size * len(stack) for size, stack in self._cache.items())
        return SpaceStats(
            mapped=self._mapped,
            live=self._mapped - sum(free) - cached,
            cached=cached,
            free=sum(free),
            largest_hole=self._class_floor(),
            holes=len(free),
            arenas=len(self._spans),
            peak_mapped=self._peak_mapped,
            allocs=self._allocs,
            frees=self._frees,
            cache_hits=self._cache_hits,
            drained=self._drained,
            holes_visited=self._visits,
            coalesces=self._coalesces,
            imports=self._arenas.imports,
            releases=self._arenas.releases,
            resizes_moved=self._moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw the spans as text, ``width`` characters each: ``#`` busy, ``c`` cached, ``.`` free, ``+`` a mixture."""
        return draw({base: span.size for base, span in sorted(self._spans.items())}, self.segments(), width)

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant, recomputed by following the tags; vmem_check sees I1 and I2 only (B37)."""
        found = list(self._arenas.violations())
        spans = {base: span.size for base, span in self._spans.items()}
        if spans != dict(self._arenas) | self._static:
            found.append(Violation("I2", "the spans are not those that were imported and added"))
        tags = list(self._tags())
        found += tiling_violations(sorted(spans.items()), self.segments(), self._quantum)
        for tag in tags:
            if tag.kind is Kind.FREE and tag.after is not None and tag.after.kind is Kind.FREE:
                found.append(Violation("I3", f"{tag.start:#x}+{tag.size} and what follows are both free"))
            if tag.after is not None and tag.after.before is not tag:
                found.append(Violation("I5", f"the tag behind {tag.start:#x} is not linked back"))
        listed = self._free_tags()
        if len(listed) != len(set(listed)) or set(listed) != {tag for tag in tags if tag.kind is Kind.FREE}:
            found.append(Violation("I5", "the free lists hold other tags than those that are free"))
        for index, of_class in self._lists.items():
            if not of_class or any(size_class(max(tag.size // self._quantum, 1)) != index for tag in of_class):
                found.append(Violation("I5", f"the list of class {index} is empty, or holds a tag of another class"))
        if self._busy != {tag.start: tag for tag in tags if tag.kind is Kind.BUSY}:
            found.append(Violation("I6", "the busy table differs from the busy tags"))
        cached = [tag for stack in self._cache.values() for tag in stack]
        if set(cached) != {tag for tag in tags if tag.kind is Kind.CACHED} or len(cached) != len(set(cached)):
            found.append(Violation("I6", "the caches differ from the cached tags"))
        if self._allocs - self._frees != len(self._busy):
            found.append(
                Violation(
                    "I6", f"{self._allocs} allocs less {self._frees} frees do not make {len(self._busy)} segments"
                )
            )
        if self._mapped > self.kva_limit:
            found.append(Violation("I9", f"{self._mapped} bytes are mapped, more than the limit {self.kva_limit}"))
        return tuple(found)


def _link(before: _Tag, after: _Tag) -> None:
    before.after = after
    after.before = before
