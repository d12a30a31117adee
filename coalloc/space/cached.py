"""A cache in front of any space: it keeps freed buffers and hands them out again unchanged, as kernels do with mappings.

A freed buffer of a cached size goes on a stack of its CPU.  The next request of that size on that CPU gets the newest buffer of
the stack, at the same address, without a call to the space below.  A cached buffer is neither live nor in a hole
(Kind.CACHED).  I6 holds for the live buffers, and the space below keeps its own invariants.

DragonFly (February 2004) keeps up to 16 structures with their KVA on each CPU, and tears down the next one that is freed there
(B50).  NetBSD's object cache keeps the KVA of every pipe until memory is short (B51); that is a depth of None.

When the space below refuses a request, every stack is drained and the request is tried once more.  Not done: moving buffers
between CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from coalloc.contract import Coalescing, Contract, Resize
from coalloc.errors import BadFreeError, ExhaustionError, FreeFault, InvalidRequestError, Violation
from coalloc.space.picture import draw
from coalloc.space.placement import rounded
from coalloc.space.protocol import FullSpace, Kind, Segment, SpaceSource, SpaceStats
from coalloc.units import require_size

__all__ = ["CachedSpace"]


class CachedSpace(SpaceSource):
    """Keep freed buffers in front of a space.

    Args:
        below: The space that hands out the buffers.
        sizes: The sizes in bytes that are cached, as rounded by the space below.
        depth: Buffers cached on one CPU, all sizes together, >= 0; None caches all.
        ncpus: The number of CPUs, >= 1; ``cpu`` says on which one a call is made.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        A hit does not call the space below.  A call that raises changes nothing, except that a refusal has drained the cache.

    Complexity:
        A hit, or a free into the cache, is O(1).

    Source:
        DragonFly sys/kern/sys_pipe.c, commit fc7d518197 of February 2004; NetBSD sys/kern/sys_pipe.c 1.110 of 2009; B50, B51.

    >>> from coalloc.space import PerPipeSpace
    >>> from coalloc.vm import KernelMap
    >>> kernel = KernelMap()
    >>> space = CachedSpace(PerPipeSpace(kernel, kva_limit=1 << 20), sizes=[16384], depth=16)
    >>> base = space.alloc(16384)
    >>> space.free(base)
    >>> space.alloc(16384) == base, kernel.counters().map_ops, kernel.counters().unmap_ops
    (True, 1, 0)
    """

    __slots__ = (
        "_allocs",
        "_below",
        "_cpu",
        "_depth",
        "_drained",
        "_frees",
        "_geometry",
        "_hits",
        "_kept",
        "_moved",
        "_quantum",
        "_refusals",
        "_sizes",
        "_stacks",
    )

    def __init__(self, below: FullSpace, *, sizes: Iterable[int], depth: int | None = 16, ncpus: int = 1) -> None:
        if depth is not None and (type(depth) is not int or depth < 0):
            raise InvalidRequestError("depth", depth, "must be an int >= 0, or None")
        if type(ncpus) is not int or ncpus < 1:
            raise InvalidRequestError("ncpus", ncpus, "must be an int >= 1")
        self._below = below
        self._geometry = below.contract.geometry
        self._quantum = below.quantum
        self._sizes = frozenset(require_size(size, "sizes") for size in sizes)
        self._depth = depth
        self._stacks: list[dict[int, list[int]]] = [{} for _ in range(ncpus)]
        self._kept: dict[int, int] = {}  # size of every cached buffer, by base
        self._cpu = 0
        self._allocs = self._frees = self._hits = self._drained = self._moved = self._refusals = 0

    @property
    def ncpus(self) -> int:
        """The number of CPUs that have a cache."""
        return len(self._stacks)

    @property
    def cpu(self) -> int:
        """The CPU on which calls are made, 0 .. ncpus - 1."""
        return self._cpu

    @cpu.setter
    def cpu(self, number: int) -> None:
        if type(number) is not int or not 0 <= number < len(self._stacks):
            raise InvalidRequestError("cpu", number, f"must be an int in 0 .. {len(self._stacks) - 1}")
        self._cpu = number

    @property
    def contract(self) -> Contract:
        """The contract of the space below, changed where the cache differs."""
        below = self._below.contract
        resize = Resize.NONE if below.resize is Resize.NONE else Resize.MOVING
        return attrs.evolve(
            below, coalescing=Coalescing.DEFERRED, constraints=frozenset(), resize=resize, tie=None, work=None
        )

    @property
    def quantum(self) -> int:
        """That of the space below."""
        return self._below.quantum

    @property
    def kva_limit(self) -> int:
        """That of the space below."""
        return self._below.kva_limit

    def alloc(self, size: int) -> int:
        """Hand out the newest cached buffer of this size on this CPU, else one from below.

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            ExhaustionError: If the space below has no place even with all caches drained.
        """
        stack = self._stacks[self.cpu].get(self._rounded(size))
        if stack:
            base = stack.pop()
            del self._kept[base]
            self._hits += 1
        else:
            try:
                base = self._below.alloc(size)
            except ExhaustionError:
                if not self._kept:
                    self._refusals += 1
                    raise
                base = self._after_draining(size)
        self._allocs += 1
        return base

    def _rounded(self, size: int) -> int:
        return rounded(require_size(size), self._quantum, self._geometry)

    def _after_draining(self, size: int) -> int:
        self._drain()
        try:
            return self._below.alloc(size)
        except ExhaustionError:
            self._refusals += 1
            raise

    def free(self, base: int) -> None:
        """Cache a buffer if its size is cached and this CPU has room, else free it below.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        size = self.size_of(base)
        stacks = self._stacks[self.cpu]
        if size in self._sizes and (self._depth is None or sum(map(len, stacks.values())) < self._depth):
            stacks.setdefault(size, []).append(base)
            self._kept[base] = size
        else:
            self._below.free(base)
        self._frees += 1

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size by moving it, unless it has that size already.

        Raises:
            BadFreeError, InvalidRequestError, ExhaustionError: As ``free`` and ``alloc``.
        """
        if self._rounded(size) == self.size_of(base):
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
        if type(base) is not int:
            raise InvalidRequestError("base", base, f"an int address is needed, not {type(base).__name__}")
        if base in self._kept:
            raise BadFreeError(base, FreeFault.FREED_TWICE)
        try:
            return self._below.size_of(base)
        except BadFreeError as error:
            if error.inside is not None and error.inside[0] in self._kept:
                raise BadFreeError(base, FreeFault.NEVER_ALLOCATED) from None
            raise

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range."""
        self._below.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range."""
        self._below.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now from below, without draining; 0 if the space below cannot tell."""
        tell: Callable[[], int] | None = getattr(self._below, "available", None)
        return tell() if tell is not None else 0

    def reclaim(self) -> int:
        """Drain every CPU's cache, and reclaim below; return how many bytes were unmapped."""
        before = self._below.stats().mapped
        self._drain()
        self._below.reclaim()
        return before - self._below.stats().mapped

    def _drain(self) -> None:
        for stacks in self._stacks:
            for _, stack in sorted(stacks.items()):
                while stack:
                    self._below.free(stack[-1])  # first: if it fails, the buffer is still kept
                    del self._kept[stack.pop()]
                    self._drained += 1

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments of the space below, with the kept buffers shown as cached."""
        return tuple(
            attrs.evolve(segment, kind=Kind.CACHED)
            if segment.kind is Kind.BUSY and segment.base in self._kept
            else segment
            for segment in self._below.segments()
        )

    def stats(self) -> SpaceStats:
        """Return the figures of the space below, with the kept buffers counted as cached, and the counts of calls made here."""
        below = self._below.stats()
        kept = sum(self._kept.values())
        return attrs.evolve(
            below,
            live=below.live - kept,
            cached=below.cached + kept,
            allocs=self._allocs,
            frees=self._frees,
            cache_hits=below.cache_hits + self._hits,
            drained=below.drained + self._drained,
            resizes_in_place=0,
            resizes_moved=self._moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw the arenas as text: ``#`` busy, ``c`` cached, ``.`` free, ``+`` a mixture."""
        segments = self.segments()
        ends: dict[int, int] = {}
        for segment in segments:
            ends[segment.arena] = max(ends.get(segment.arena, 0), segment.end)
        return draw({base: end - base for base, end in sorted(ends.items())}, segments, width)

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant of the space below and of the cache."""
        found = list(self._below.violations())
        busy = {segment.base: segment.size for segment in self._below.segments() if segment.kind is Kind.BUSY}
        stacked = [(base, size) for stacks in self._stacks for size, stack in stacks.items() for base in stack]
        if len(stacked) != len(self._kept) or dict(stacked) != self._kept:
            found.append(Violation("I6", "the stacks and the table of cached buffers differ"))
        if any(busy.get(base) != size for base, size in self._kept.items()):
            found.append(Violation("I6", "a cached buffer is not busy below"))
        if self._allocs - self._frees != len(busy) - len(self._kept):
            found.append(
                Violation("I6", f"{self._allocs} allocs less {self._frees} frees do not make the buffers that are live")
            )
        return tuple(found)
