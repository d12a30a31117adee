"""The naive baseline: one mapping per buffer, mapped when it is handed out and unmapped when it is freed; keeps I2, I6 to I9.

Each buffer is an arena of its own, so there are no holes to manage.  The source searches its gaps instead, and each buffer
costs a map and an unmap operation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from coalloc.contract import EAGER, Coalescing, Completeness, Contract, Resize
from coalloc.errors import (
    ExhaustionError,
    Violation,
)
from coalloc.space.checks import bad_free
from coalloc.space.picture import draw
from coalloc.space.placement import Placement
from coalloc.space.protocol import Kind, Segment, SpaceSource, SpaceStats
from coalloc.space.refusal import Refusal
from coalloc.units import MAX_SIZE, MiB, require_size, round_down, round_up
from coalloc.vm.source import Source

__all__ = ["PerPipeSpace"]

_ROW: Final = 4 * MiB
"""Bytes in one line of the picture."""

_CONTRACT: Final = Contract(
    fit=None,
    coalescing=Coalescing.IMMEDIATE,
    completeness=Completeness.EXACT,
    release=EAGER,
    resize=Resize.MOVING,
)


class PerPipeSpace(SpaceSource):
    """Map every buffer on its own.

    Args:
        source: The source that maps the buffers.
        kva_limit: The most bytes that are ever mapped, > 0.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Guarantees:
        As :class:`~coalloc.space.coalescing.CoalescingSpace`, but there is nothing to reclaim.

    Complexity:
        ``alloc`` and ``free`` each make one map or unmap call to the source.

    Source:
        FreeBSD sys_pipe.c, pipespace and pipe_free_kmem.

    >>> from coalloc.vm import KernelMap
    >>> kernel = KernelMap()
    >>> space = PerPipeSpace(kernel, kva_limit=1 << 20)
    >>> space.free(space.alloc(16384))
    >>> kernel.counters().map_ops, kernel.counters().unmap_ops
    (1, 1)
    """

    __slots__ = (
        "_allocs",
        "_buffers",
        "_freed",
        "_frees",
        "_granule",
        "_kva_limit",
        "_mapped",
        "_peak_mapped",
        "_refusals",
        "_resizes_moved",
        "_source",
    )

    def __init__(self, source: Source, *, kva_limit: int) -> None:
        self._kva_limit = require_size(kva_limit, "kva_limit")
        self._source = source
        self._granule = source.granule
        self._buffers: dict[int, int] = {}
        self._freed: set[int] = set()
        self._mapped = 0
        self._peak_mapped = 0
        self._allocs = 0
        self._frees = 0
        self._resizes_moved = 0
        self._refusals = 0

    @property
    def contract(self) -> Contract:
        """The contract of this space; the source chooses among its gaps."""
        return _CONTRACT

    @property
    def quantum(self) -> int:
        """The source's granule."""
        return self._source.granule

    @property
    def kva_limit(self) -> int:
        """The most bytes that are ever mapped."""
        return self._kva_limit

    def alloc(self, size: int) -> int:
        """Map ``size`` bytes, rounded up to the source's granule, and return the base.

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            KvaLimitError: If the limit forbids it; the source is not asked.
            NoSpaceError: If the source has no room.
        """
        if type(size) is not int or size & (self._granule - 1) or not 0 < size <= MAX_SIZE:
            size = round_up(require_size(size), self._granule)
        if size > self._kva_limit - self._mapped:
            raise self._refusal(size)
        try:
            base = self._source.map(size)
        except ExhaustionError:
            raise self._refusal(size) from None
        self._buffers[base] = size
        self._allocs += 1
        self._mapped += size
        if self._mapped > self._peak_mapped:
            self._peak_mapped = self._mapped
        return base

    def free(self, base: int) -> None:
        """Unmap a buffer.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer; the error says what it is instead.
        """
        size = self._buffers.get(base) if type(base) is int else None
        if size is None:
            raise bad_free(base, self._buffers.items(), self._freed)
        self._source.unmap(base, size)
        del self._buffers[base]
        self._freed.add(base)
        self._frees += 1
        self._mapped -= size

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size by mapping another one and unmapping the old, in this order (PI4).

        Raises:
            BadFreeError, InvalidRequestError, KvaLimitError, NoSpaceError: As ``free`` and ``alloc``.
        """
        old = self.size_of(base)
        if round_up(require_size(size), self._source.granule) == old:
            return base
        moved = self.alloc(size)
        self.free(base)
        self._resizes_moved += 1
        return moved

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``, as rounded.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        size = self._buffers.get(base) if type(base) is int else None
        if size is None:
            raise bad_free(base, self._buffers.items(), self._freed)
        return size

    def _refusal(self, size: int) -> ExhaustionError:
        self._refusals += 1
        quantum = self._source.granule
        request = Placement(size, quantum, quantum)
        return Refusal(request, (), self._mapped, self._kva_limit, quantum, self._source.available()).error()

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range inside a buffer."""
        self._source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range inside a buffer."""
        self._source.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now: what the limit allows and the source grants without draining."""
        headroom = round_down(max(self._kva_limit - self._mapped, 0), self._source.granule)
        return min(headroom, self._source.available())

    def reclaim(self) -> int:
        """Return 0: a freed buffer is unmapped at once."""
        return 0

    def segments(self) -> tuple[Segment, ...]:
        """Return the buffers in address order, each its own arena."""
        return tuple(Segment(base, size, Kind.BUSY, base) for base, size in sorted(self._buffers.items()))

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value; all exact.  Every buffer counts as an arena, imported and released."""
        return SpaceStats(
            mapped=self._mapped,
            live=self._mapped,
            arenas=len(self._buffers),
            peak_mapped=self._peak_mapped,
            allocs=self._allocs,
            frees=self._frees,
            imports=self._allocs,
            releases=self._frees,
            resizes_moved=self._resizes_moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw the range that holds the buffers as text, a line for each 4 MiB: ``#`` busy, ``.`` a gap, ``+`` a mixture."""
        segments = self.segments()
        rows = sorted({row for s in segments for row in range(s.base // _ROW, (s.end - 1) // _ROW + 1)})
        pieces: list[Segment] = []
        for row in rows:
            at, end = row * _ROW, (row + 1) * _ROW
            for segment in segments:
                if segment.base < end and at < segment.end:
                    base = max(segment.base, at)
                    if at < base:
                        pieces.append(Segment(at, base - at, Kind.FREE, row * _ROW))
                    at = min(segment.end, end)
                    pieces.append(Segment(base, at - base, Kind.BUSY, row * _ROW))
            if at < end:
                pieces.append(Segment(at, end - at, Kind.FREE, row * _ROW))
        return draw({row * _ROW: _ROW for row in rows}, pieces, width)

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant, recomputed from the buffers."""
        found = []
        buffers = sorted(self._buffers.items())
        for base, size in buffers:
            if not self._source.maps(base, size):
                found.append(Violation("I2", f"buffer {base:#x}+{size} is not mapped in the source"))
            if base % self.quantum or size % self.quantum or size <= 0:
                found.append(
                    Violation("I8", f"{base:#x}+{size} is not a positive multiple of the quantum {self.quantum}")
                )
        for (base, size), (behind, _) in pairwise(buffers):
            if base + size > behind:
                found.append(Violation("I2", f"buffer {base:#x}+{size} overlaps buffer {behind:#x}"))
        if self._allocs - self._frees != len(buffers):
            found.append(
                Violation("I6", f"{self._allocs} allocs less {self._frees} frees do not make {len(buffers)} buffers")
            )
        if self._mapped != sum(size for _, size in buffers):
            found.append(
                Violation("I7", f"mapped is {self._mapped}, the buffers hold {sum(size for _, size in buffers)}")
            )
        if self._mapped > self._kva_limit:
            found.append(Violation("I9", f"{self._mapped} bytes are mapped, more than the limit {self._kva_limit}"))
        return tuple(found)
