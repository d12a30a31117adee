"""FreeBSD's vmem: boundary tags, segregated free lists, instant fit, best fit and next fit; keeps I1 to I10.

A *tag* describes a segment.  All tags are on one list: each span is a tag that the tags of its segments follow, in the order of
addresses, and spans stand in the order in which they came.  So a free finds its neighbours by following two links and never
crosses into another span.  Free tags are also on a *free list* by size class: one class for each size up to 32 quanta, then one
for each power of two (B32).  Busy tags are found by address.

M_FIRSTFIT, "instant fit", looks at the first segment of each list whose members are all large enough.  It falls back to
M_BESTFIT, which searches the lists from the request's own class upwards (B33), and stays with it after an import or a drain.
New free segments go to the front of their list, so the newest is found first.  M_NEXTFIT follows the list of all tags from the
*cursor* on, a tag of its own, which then stands behind what was carved.  Free segments on both sides of the cursor are
coalesced by the next request, and what they become stays on the list of the lower one.

A *static* span is added with ``add`` and stays.  An *imported* span is released as soon as a free leaves it wholly free (B34).
An import is the size of the request, with twice the alignment where one is asked for, rounded up to ``import_quantum``: no more
and no less.  If the span does not admit the request it stays, and another is imported, until the limit or the source refuses.
*Quantum caches* keep freed buffers of small sizes.  A cached buffer is not coalesced with its neighbours until its cache is
drained: by a request that nothing can be imported for, or by ``drain()``.  The request is tried again only if more bytes are
free then than before.  So it is refused where the drain has released spans that had more free bytes than were cached; a size
that is cached is tried twice (B36).

``stats().largest_hole`` is the least size of the highest class that is not empty.  This is a lower bound, as
vmem_size(VMEM_MAXFREE) gives it (B38).

With ``imports=Imports.SURE`` the space does better than the kernel: an import is large enough to admit the request, smaller
ones are tried where that is refused, a span that does not admit the request is released at once, and after a drain another is
imported.

Differences from the kernel: a cache is one bounded stack for each size; nobody sleeps, so that every request is one of
M_NOWAIT; a request that M_NEXTFIT cannot place is refused (in 03ccfdd2ecf3 the search goes round for ever if the cursor is
first); ``reclaim()`` releases spans that have stayed, which the kernel does not; M_NEXTFIT carves whole quanta (the kernel
passes the size as it was asked for); address 0 can be cached; static spans that touch stay apart (03ccfdd2ecf3 joins them
where nothing is imported); a span that is added counts against the limit, and is refused beyond it (vmem_add looks at no
limit, and a limit of 0 is none there); the reserve of tags is not modelled.

Source: FreeBSD sys/kern/subr_vmem.c of 10.2 and, for what is newer, of commits 898f32a49d55 and 03ccfdd2ecf3; vmem(9); B32 to
B38; Bonwick and Adams, USENIX ATC 2001.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NoReturn

from coalloc.contract import (
    ANY_RELEASE,
    ANYWHERE,
    EAGER,
    Bounds,
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    Fit,
    Resize,
    Work,
)
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

__all__ = ["QCACHE_DEPTH", "Imports", "VmemSpace"]

QCACHE_DEPTH: Final = 128
"""The most buffers of one size that a quantum cache keeps."""
_IMPORT_QUANTUM: Final = 4 * MiB
_MOST_QCACHES: Final = 16
_BOUNDS: Final = frozenset({Constraint.LO, Constraint.HI})


class Imports(enum.Enum):
    """How spans are imported."""

    KERNEL = "kernel"
    """As FreeBSD does: of one size, which may not suffice, again and again until the limit or the source refuses."""
    SURE = "sure"
    """Of a size that suffices, or a smaller one where that is refused; and what does not help is given back."""


class _Tag:
    """A boundary tag of a segment in a span, of a span, or of the cursor (``kind`` None: neither is ever handed out).

    The list of all tags is a ring, closed by a tag of its own.
    """

    __slots__ = ("after", "before", "filed", "kind", "size", "span", "start")

    def __init__(self, start: int, size: int, kind: Kind | None, span: _Tag | None) -> None:
        self.start = start
        self.size = size
        self.kind = kind
        self.filed = -1
        """The class of the free list that it is on."""
        self.span = self if span is None else span
        self.before: _Tag = self
        self.after: _Tag = self

    def put_behind(self, before: _Tag) -> None:
        """Enter this tag into the list of all tags."""
        self.before, self.after = before, before.after
        before.after.before = self
        before.after = self

    def take_out(self) -> None:
        """Take this tag out of the list of all tags."""
        self.before.after, self.after.before = self.after, self.before


class VmemSpace(SpaceSource):
    """Hand out segments of spans, as vmem(9) does.

    Args:
        source: The source of imported spans.
        kva_limit: The most bytes of imported and static spans together, > 0 (vmem_set_limit).
        import_quantum: A multiple of the source's granule; imports are rounded up to a multiple of it.  0 imports nothing; None
            is 4 MiB, or the limit if that is less.
        quantum: A power of two that divides the source's granule; every base and size is a multiple of it.
        strategy: Fit.INSTANT (M_FIRSTFIT), Fit.CLASS_BEST (M_BESTFIT) or Fit.NEXT (M_NEXTFIT).
        qcache_max: The largest size in bytes that is cached when it is freed, at most 16 quanta; 0 caches nothing.
        imports: How spans are imported.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        I1 to I10 hold at every return, I3 except at the cursor of M_NEXTFIT.  A call that raises changes nothing that is live;
        spans that were imported for a request that is refused stay with Imports.KERNEL.

    Complexity:
        ``alloc`` is O(c) for c classes (90) if instant fit finds a segment, else O(members of one class + c); with M_NEXTFIT
        it is O(tags).  ``free`` is O(1).

    Source:
        FreeBSD subr_vmem.c; B32 to B38.

    >>> from coalloc.vm import KernelMap
    >>> arena = VmemSpace(KernelMap(), kva_limit=8 * MiB)
    >>> a, b = arena.alloc(16384), arena.alloc(4096)
    >>> arena.stats().largest_hole  # 4 MiB less 5 pages are in the class of 2 MiB
    2097152
    """

    __slots__ = (
        "_allocs", "_arenas", "_bound", "_busy", "_cache", "_cache_hits", "_coalesces", "_cursor", "_drained", "_freed",
        "_frees", "_import_quantum", "_imports", "_lists", "_moved", "_peak_mapped", "_qcache_max", "_quantum",
        "_reclaim", "_refusals", "_ring", "_spans", "_static", "_strategy", "_visits",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        *,
        kva_limit: int,
        import_quantum: int | None = None,
        quantum: int = PAGE_SIZE,
        strategy: Fit = Fit.INSTANT,
        qcache_max: int = 0,
        imports: Imports = Imports.KERNEL,
    ) -> None:
        granule = source.granule
        require_quantum(quantum, granule)
        if strategy not in (Fit.INSTANT, Fit.CLASS_BEST, Fit.NEXT):
            raise InvalidRequestError("strategy", strategy, "must be Fit.INSTANT, Fit.CLASS_BEST or Fit.NEXT")
        if not isinstance(imports, Imports):
            raise InvalidRequestError("imports", imports, "must be Imports.KERNEL or Imports.SURE")
        if type(qcache_max) is not int or not 0 <= qcache_max <= _MOST_QCACHES * quantum or qcache_max % quantum:
            raise InvalidRequestError("qcache_max", qcache_max, f"must be a multiple of {quantum}, at most 16 of them")
        release = EAGER if imports is Imports.SURE and strategy is not Fit.NEXT else ANY_RELEASE
        self._arenas = Arenas(source, kva_limit=kva_limit, release=release, is_idle=self._is_idle)
        if import_quantum is None:
            import_quantum = max(round_down(min(_IMPORT_QUANTUM, kva_limit), granule), granule)
        self._import_quantum = require_multiple("import_quantum", import_quantum, granule) if import_quantum else 0
        self._imports = imports
        self._bound = kva_limit  # what may be mapped: more than the limit, if a limit was set below what was mapped
        self._reclaim: Callable[[], object] | None = None
        self._quantum = quantum
        self._strategy = strategy
        self._qcache_max = qcache_max
        self._static: dict[int, int] = {}  # sizes of the static spans, by base
        self._ring = _Tag(0, 0, None, None)  # closes the list of all tags
        self._cursor = _Tag(0, 0, None, None)
        self._cursor.put_behind(self._ring)
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
        sure, next_fit = self._imports is Imports.SURE, self._strategy is Fit.NEXT
        return Contract(
            fit=None if next_fit else self._strategy,  # the next in the order of imports
            completeness=Completeness.EXACT if sure or not self._qcache_max else Completeness.BEST_EFFORT,
            coalescing=Coalescing.DEFERRED if self._qcache_max else Coalescing.IMMEDIATE,
            release=self._arenas.release,
            constraints=frozenset(Constraint) - (_BOUNDS if next_fit else frozenset()),
            resize=Resize.MOVING,
            exact_stats=False,
            work=Work.LINEAR,
            reclaims=sure,
            retries=sure,
        )

    @property
    def quantum(self) -> int:
        """Every base and size is a multiple of it."""
        return self._quantum

    @property
    def kva_limit(self) -> int:
        """The most bytes that are imported and added."""
        return self._arenas.kva_limit

    def set_limit(self, limit: int) -> None:
        """Set the most bytes of all spans together (vmem_set_limit); spans beyond it stay, and nothing more is imported.

        Args:
            limit: Bytes, > 0.

        Raises:
            InvalidRequestError: If it is not an int > 0.
        """
        self._arenas.kva_limit = require_size(limit, "limit")
        self._bound = max(limit, self._mapped)

    def set_reclaim(self, reclaim: Callable[[], object] | None) -> None:
        """Set what is called before a request is refused, so that it frees what it can spare (vmem_set_reclaim).

        The request is tried again if more is free afterwards than before.

        Args:
            reclaim: Called without arguments; None for nothing.
        """
        self._reclaim = reclaim

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
        request = Placement(size, self._quantum, self._quantum)
        if size <= self._qcache_max and self._imports is Imports.KERNEL:
            start = self._try(request)  # for the cache, as which the kernel asks first
            if start >= 0:
                return start
        return self._xalloc(request)

    def xalloc(
        self,
        size: int,
        *,
        align: int = 0,
        phase: int = 0,
        nocross: int = 0,
        lo: int = 0,
        hi: int = MAX_ADDRESS,
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
            InvalidRequestError: For an argument outside its range; ``lo`` and ``hi`` have none with M_NEXTFIT.
            KvaLimitError, NoSpaceError: If there is no place.
        """
        if self._strategy is Fit.NEXT and (lo, hi) != (ANYWHERE.lo, ANYWHERE.hi):
            raise InvalidRequestError("lo, hi", (lo, hi), "M_NEXTFIT takes none")
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
        if not self._import_quantum:
            return largest
        unit = self._arenas.granule if self._imports is Imports.SURE else self._import_quantum
        return max(largest, round_down(min(self._headroom, self._arenas.source.available()), unit))

    def drain(self) -> int:
        """Drain the caches, which releases every imported span that becomes free, and return how many bytes were unmapped."""
        before = self._arenas.mapped
        for _, stack in sorted(self._cache.items()):
            for tag in stack.copy():
                stack.pop(0)
                self._drained += 1
                self._coalesce(tag)
        return before - self._arenas.mapped

    def reclaim(self) -> int:
        """Drain the caches, release every imported span that is free, and return how many bytes were unmapped."""
        before = self._arenas.mapped
        self.drain()
        self._coalesce_at_cursor()
        for base in [base for base in self._spans if base not in self._static and self._is_idle(base)]:
            self._release(self._spans[base].after)
        return before - self._arenas.mapped

    # --- searching -----------------------------------------------------------------------------------

    def _xalloc(self, request: Placement) -> int:
        start = self._try(request)
        if start < 0:
            self._refuse(request)
        return start

    def _try(self, request: Placement) -> int:
        """Search, then fetch more and search again, until there is no more; return the base, or -1."""
        next_fit = self._strategy is Fit.NEXT
        take = self._take_next if next_fit else self._take
        start = take(request) if next_fit else self._take(request, instant=self._strategy is Fit.INSTANT)
        while start < 0:
            span = self._import_for(request)
            if span is None and not self._spare():
                return -1
            if span is not None and self._imports is Imports.SURE and not next_fit:
                start = self._carve_first(request, [span])
            else:
                start = take(request)
        self._allocs += 1
        return start

    def _refuse(self, request: Placement) -> NoReturn:
        self._refusals += 1
        holes = tuple((tag.start, tag.size) for tag in self._free_tags())
        sure = self._imports is Imports.SURE
        error = Refusal(
            request,
            holes,
            self._mapped,
            self.kva_limit,
            self._arenas.granule if sure else self._import_quantum or self._arenas.granule,
            self._arenas.source.available() if self._import_quantum else 0,
            sure_size=(lambda placement: placement.sure_size) if sure else self._sure_import,
        ).error()
        error.largest_hole = self._class_floor()
        raise error

    def _take(self, request: Placement, *, instant: bool = False) -> int:
        """Carve the request out of the first free segment of the lists; return its base, or -1."""
        return self._carve_first(request, self._candidates(request.size, instant=instant))

    def _take_next(self, request: Placement) -> int:
        """Carve the request out of the next free segment behind the cursor, and move the cursor; return its base, or -1."""
        start = self._carve_first(request, self._from_cursor())
        joined = self._coalesce_at_cursor()
        if start < 0 and joined is not None:
            start = self._carve_first(request, [joined])
        if joined is not None and joined.kind is Kind.FREE:
            self._release_if_idle(joined)
        if start >= 0:
            tag, end = self._busy[start], start + request.size
            self._cursor.take_out()
            while tag is not self._ring and tag.start < end:  # which skips spans that came later and lie lower
                tag = tag.after
            self._cursor.put_behind(tag if tag is self._ring else tag.before)
        return start

    def _carve_first(self, request: Placement, tags: Iterable[_Tag]) -> int:
        """Carve the request out of the first of some free segments that admits it; return its base, or -1."""
        for tag in tags:
            self._visits += 1
            start = request.start_in(tag.start, tag.size)
            if start >= 0:
                self._carve(tag, start, request.size)
                return start
        return -1

    def _candidates(self, size: int, *, instant: bool) -> Iterator[_Tag]:
        quanta = size // self._quantum
        own = size_class(quanta)
        present = sorted(index for index in self._lists if index >= own)
        if instant:
            sure = own if quanta <= 32 or is_power_of_two(quanta) else own + 1
            yield from (next(reversed(self._lists[index])) for index in present if index >= sure)
        for index in present:
            yield from reversed(self._lists[index])

    def _from_cursor(self) -> Iterator[_Tag]:
        """Yield the free tags in the order of the list of all tags, from the cursor on and round."""
        tag = self._cursor.after
        while tag is not self._cursor:
            if tag.kind is Kind.FREE:
                yield tag
            tag = tag.after

    def _spare(self) -> bool:
        """Drain the caches, and free what others can spare; return whether more is free than before."""
        cached = any(self._cache.values())
        if not cached and self._reclaim is None:
            return False
        free = self._n_free
        self.drain()
        if self._reclaim is not None:
            self._reclaim()
        return self._n_free > free or (cached and self._imports is Imports.SURE)

    def _import_for(self, request: Placement) -> _Tag | None:
        """Import a span for a request, and return its free segment; None if there is no more, or it is known not to help."""
        if not self._import_quantum:
            return None
        granule, headroom = self._arenas.granule, self._headroom
        if self._imports is Imports.SURE:
            need, bare = (round_up(size, granule) for size in (request.sure_size, request.size))
            if bare > headroom or not request.possible:
                return None
            wanted = [min(round_up(need, self._import_quantum), headroom), min(need, headroom), bare]
        else:
            wanted = [round_up(self._import_size(request), self._import_quantum)]
            if wanted[0] > headroom:
                return None
        base = self._arenas.take(wanted)
        if base < 0:
            return None
        size = self._arenas.size_at[base]
        for other, length in self._static.items():
            if base < other + length and other < base + size:
                self._arenas.give_back(base)
                raise SpanOverlapError((base, size), (other, length), "the source returned part of the static span")
        tag = self._add_span(base, size)
        self._peak_mapped = max(self._peak_mapped, self._mapped)
        if self._imports is Imports.SURE and request.start_in(base, size) < 0:
            self._release(tag)
            return None
        return tag

    def _import_size(self, request: Placement) -> int:
        """Return what is imported for a request, in bytes that are not rounded yet."""
        return request.size + (2 * request.align if request.align != self._quantum else 0)

    def _sure_import(self, request: Placement) -> int:
        """Return the same if such a span is sure to admit the request, else more than can be imported."""
        return MAX_ADDRESS if request.nocross else self._import_size(request)

    # --- tags ----------------------------------------------------------------------------------------

    def _add_span(self, base: int, size: int) -> _Tag:
        span = _Tag(base, size, None, None)
        span.put_behind(self._ring.before)
        tag = _Tag(base, size, Kind.FREE, span)
        tag.put_behind(span)
        self._spans[base] = span
        self._enter(tag)
        return tag

    def _carve(self, tag: _Tag, start: int, size: int) -> None:
        """Carve a busy segment out of a free one; the rests in front and behind become free segments of their own."""
        self._strike(tag)
        end = tag.start + tag.size
        if start > tag.start:
            front = _Tag(tag.start, start - tag.start, Kind.FREE, tag.span)
            front.put_behind(tag.before)
            self._enter(front)
        if end > start + size:
            back = _Tag(start + size, end - start - size, Kind.FREE, tag.span)
            back.put_behind(tag)
            self._enter(back)
        tag.start, tag.size, tag.kind = start, size, Kind.BUSY
        self._busy[start] = tag

    def _coalesce(self, tag: _Tag) -> None:
        """Coalesce a segment with its free neighbours, and release its span if it is imported and now wholly free."""
        tag.kind = Kind.FREE
        if tag.after.kind is Kind.FREE:
            self._join(tag, tag.after)
        before = tag.before
        if before.kind is Kind.FREE:
            self._strike(before)
            tag.start = before.start
            tag.size += before.size
            before.take_out()
            self._coalesces += 1
        self._enter(tag)
        self._release_if_idle(tag)

    def _join(self, tag: _Tag, behind: _Tag) -> None:
        """Let a segment take in the free one behind it."""
        self._strike(behind)
        tag.size += behind.size
        behind.take_out()
        self._coalesces += 1

    def _coalesce_at_cursor(self) -> _Tag | None:
        """Coalesce the free segments on both sides of the cursor, and return what they have become."""
        before, after = self._cursor.before, self._cursor.after
        if before.kind is not Kind.FREE or after.kind is not Kind.FREE or before.start + before.size != after.start:
            return None
        self._join(before, after)  # it stays on the list of its class, as the kernel leaves it
        return before

    def _release_if_idle(self, tag: _Tag) -> None:
        span = tag.span
        if tag.size == span.size and tag.before is span and span.start not in self._static:
            self._release(tag)

    def _release(self, tag: _Tag) -> None:
        self._arenas.give_back(tag.span.start)  # first: if the source fails, the span is still there
        self._strike(tag)
        tag.take_out()
        tag.span.take_out()
        del self._spans[tag.span.start]

    def _enter(self, tag: _Tag) -> None:
        tag.filed = size_class(tag.size // self._quantum)
        self._lists.setdefault(tag.filed, {})[tag] = None

    def _strike(self, tag: _Tag) -> None:
        index = tag.filed
        del self._lists[index][tag]
        if not self._lists[index]:
            del self._lists[index]

    def _misfiled(self, tag: _Tag, index: int) -> bool:
        """Tell whether a tag is on a list of another class; what was coalesced at the cursor may be on that of a lower one."""
        own = size_class(max(tag.size // self._quantum, 1))
        return tag.filed != index or (index > own if self._strategy is Fit.NEXT else index != own)

    def _is_idle(self, base: int) -> bool:
        first = self._spans[base].after
        return first.kind is Kind.FREE and first.size == self._spans[base].size

    # --- what it holds -----------------------------------------------------------------------------

    def _free_tags(self) -> list[_Tag]:
        return [tag for tags in self._lists.values() for tag in tags]

    def _tags(self) -> Iterator[_Tag]:
        """Yield the segments' tags span by span, in the order of the spans' addresses, by following the links."""
        for _, span in sorted(self._spans.items()):
            tag = span.after
            while tag is not self._ring and (tag.kind is not None or tag is self._cursor):
                if tag is not self._cursor:
                    yield tag
                tag = tag.after

    @property
    def _n_free(self) -> int:
        """Bytes that are in no segment that is busy or cached."""
        return sum(tag.size for tag in self._free_tags())

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
        """Return all segments in address order, by following the tags; free ones on both sides of the cursor are one."""
        shown: list[Segment] = []
        for tag in self._tags():
            base, size, kind = tag.start, tag.size, tag.kind or Kind.FREE
            if kind is Kind.FREE and tag.before is self._cursor and self._cursor.before.kind is Kind.FREE and shown:
                base, size = shown[-1].base, shown.pop().size + size
            shown.append(Segment(base, size, kind, tag.span.start))
        return tuple(shown)

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
            holes=sum(segment.kind is Kind.FREE for segment in self.segments()),
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
        found = [
            violation for violation in self._arenas.violations() if violation.code != "I9"
        ]  # spans that were added count
        spans = {base: span.size for base, span in self._spans.items()}
        if spans != dict(self._arenas) | self._static:
            found.append(Violation("I2", "the spans are not those that were imported and added"))
        tags = list(self._tags())
        found += tiling_violations(sorted(spans.items()), self.segments(), self._quantum)
        for tag in tags:
            if tag.kind is Kind.FREE and tag.after.kind is Kind.FREE:
                found.append(Violation("I3", f"{tag.start:#x}+{tag.size} and what follows are both free"))
            if tag.after.before is not tag:
                found.append(Violation("I5", f"the tag behind {tag.start:#x} is not linked back"))
        listed = self._free_tags()
        if len(listed) != len(set(listed)) or set(listed) != {tag for tag in tags if tag.kind is Kind.FREE}:
            found.append(Violation("I5", "the free lists hold other tags than those that are free"))
        for index, of_class in self._lists.items():
            if not of_class or any(self._misfiled(tag, index) for tag in of_class):
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
        if self._mapped > self._bound:
            found.append(Violation("I9", f"{self._mapped} bytes are mapped, more than the limit {self._bound}"))
        return tuple(found)
