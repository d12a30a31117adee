"""`adapted`: turn any allocator with alloc and free into a space that pipes and replay can use.

The adapter supplies what the allocator lacks.  Without ``size_of`` it keeps the sizes.  Without ``resize`` it moves the buffer.
Without ``touch`` it touches the pages in the source.  Without ``stats`` it counts calls and live bytes; it knows nothing of
holes, so ``stats().knows_holes`` is False and fragmentation is not shown.
"""

from __future__ import annotations

from typing import Any

import attrs

from coalloc.contract import Contract, Resize
from coalloc.errors import BadFreeError, ExhaustionError, FreeFault, Violation
from coalloc.space.forwarding import ForwardedCpu, ForwardingSpace
from coalloc.space.protocol import FullSpace, Segment, SpaceStats
from coalloc.units import round_up
from coalloc.vm.source import Source

__all__ = ["NEEDED", "Adapted", "AdaptedPerCpu", "adapted"]

NEEDED = (
    "contract", "quantum", "kva_limit", "resize", "size_of", "touch", "discard", "reclaim", "segments", "stats", "violations",
    "render",
)  # fmt: skip
"""The members that pipes, replay and scenarios need of a space beside ``alloc`` and ``free``."""


def adapted(allocator: Any, source: Source, *, limit: int) -> FullSpace:
    """Return an allocator unchanged if it has all that is needed, else in an adapter.

    Args:
        allocator: Anything with ``alloc(size) -> base`` and ``free(base)``.
        source: The source of its arenas.
        limit: The most bytes that it may map, if it has no ``kva_limit`` itself.
    """
    if all(_has(allocator, name) for name in NEEDED):
        return allocator  # type: ignore[no-any-return]
    kind = AdaptedPerCpu if _has(allocator, "cpu") else Adapted
    return kind(allocator, source, limit=limit)


def _has(allocator: object, name: str) -> bool:
    return getattr(allocator, name, None) is not None


class Adapted(ForwardingSpace):
    """Supply the members that an allocator lacks.

    Args:
        allocator: Anything with ``alloc(size) -> base`` and ``free(base)``.
        source: The source of its arenas.
        limit: The most bytes that it may map, if it has no ``kva_limit`` itself.
    """

    def __init__(self, allocator: Any, source: Source, *, limit: int) -> None:
        super().__init__(allocator)
        self._source = source
        self._limit = limit
        self._live: dict[int, int] = {}
        self._freed: set[int] = set()
        self._bytes = self._allocs = self._frees = self._stayed = self._moved = self._refusals = 0

    def _has(self, name: str) -> bool:
        return _has(self.below, name)

    @property
    def lacks(self) -> tuple[str, ...]:
        """The members that the adapter supplies."""
        return tuple(name for name in NEEDED if not self._has(name))

    @property
    def contract(self) -> Contract:
        """The contract that the allocator declares, or one that only promises to hand out ranges."""
        declared: Contract = getattr(self.below, "contract", None) or Contract(fit=None)
        return declared if self._has("resize") else attrs.evolve(declared, resize=Resize.MOVING)

    @property
    def quantum(self) -> int:
        """The allocator's quantum, or the granule of the source."""
        return getattr(self.below, "quantum", self._source.granule)

    @property
    def kva_limit(self) -> int:
        """The allocator's limit, or the one that the adapter was made with."""
        return getattr(self.below, "kva_limit", self._limit)

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes.

        Raises:
            MemoryError: If the allocator raises one; it is turned into an ExhaustionError if it is not one.
        """
        try:
            base: int = self.below.alloc(size)
        except MemoryError as error:
            self._refusals += 1
            if isinstance(error, ExhaustionError):
                raise
            raise ExhaustionError(size, free=0, largest_hole=0, mapped=self._bytes, kva_limit=self.kva_limit) from error
        self._enter(base, size)
        self._allocs += 1
        return base

    def _enter(self, base: int, size: int) -> None:
        self._live[base] = self.below.size_of(base) if self._has("size_of") else round_up(size, self.quantum)
        self._bytes += self._live[base]

    def free(self, base: int) -> None:
        """Take a buffer back.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        self.size_of(base)
        self.below.free(base)
        self._bytes -= self._live.pop(base)
        self._freed.add(base)
        self._frees += 1

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size as the allocator does, or move it: allocate the new buffer, then free the old."""
        old = self.size_of(base)
        if self._has("resize"):
            moved: int = self.below.resize(base, size)
            self._bytes -= self._live.pop(base)
            self._enter(moved, size)
            self._allocs += moved != base
            self._frees += moved != base
        else:
            if round_up(size, self.quantum) == old:
                return base
            moved = self.alloc(size)
            self.free(base)
        self._moved += moved != base
        self._stayed += moved == base and self._live[base] != old
        return moved

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        size = self._live.get(base)
        if size is None:
            raise BadFreeError(base, FreeFault.FREED_TWICE if base in self._freed else FreeFault.NEVER_ALLOCATED)
        return size

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range."""
        (self.below if self._has("touch") else self._source).touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range."""
        (self.below if self._has("discard") else self._source).discard(base, size)

    def reclaim(self) -> int:
        """Reclaim as the allocator does, or return 0 if it cannot."""
        return super().reclaim() if self._has("reclaim") else 0

    def segments(self) -> tuple[Segment, ...]:
        """Return the allocator's segments, or none if it shows none."""
        return super().segments() if self._has("segments") else ()

    def stats(self) -> SpaceStats:
        """Return the figures of the allocator, or those of the adapter."""
        if self._has("stats"):
            return super().stats()
        return SpaceStats(
            mapped=self._bytes,
            live=self._bytes,
            allocs=self._allocs,
            frees=self._frees,
            resizes_in_place=self._stayed,
            resizes_moved=self._moved,
            refusals=self._refusals,
            knows_holes=False,
        )

    def violations(self) -> tuple[Violation, ...]:
        """Return what the allocator's own checker finds, or nothing if it has no checker."""
        return super().violations() if self._has("violations") else ()

    def render(self, width: int = 64) -> str:
        """Draw the arenas, if the allocator can."""
        return super().render(width) if self._has("render") else "the allocator does not show its arenas"


class AdaptedPerCpu(ForwardedCpu, Adapted):
    """An allocator with something for each CPU, and what it lacks."""
