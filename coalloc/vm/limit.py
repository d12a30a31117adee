"""`Limit`: a source that never has more than so many bytes mapped, whoever asks; spaces over one of them share it."""

from __future__ import annotations

from coalloc.errors import KvaLimitError
from coalloc.units import require_size, round_down, round_up
from coalloc.vm.source import Source

__all__ = ["Limit"]


class Limit:
    """Pass on what is asked for, up to a limit.

    Args:
        source: Where ranges come from.
        limit: The most bytes that are ever mapped through here, > 0.

    Raises:
        InvalidRequestError: If the limit is no size.

    >>> from coalloc.vm.kernelmap import KernelMap
    >>> shared = Limit(KernelMap(), 8192)
    >>> _ = shared.map(4096)
    >>> shared.available(), shared.mapped
    (4096, 4096)
    """

    __slots__ = ("_source", "limit", "mapped")

    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self.limit = require_size(limit, "limit")
        self.mapped = 0
        """Bytes mapped through here."""

    @property
    def granule(self) -> int:
        """That of the source."""
        return self._source.granule

    def map(self, size: int) -> int:
        """Map a range of ``size`` rounded up to the granule, and return its base.

        Raises:
            KvaLimitError: If that would be more than the limit; the source is not asked.
            NoSpaceError: As the source.
        """
        size = round_up(require_size(size), self.granule)
        if size > self.limit - self.mapped:
            raise KvaLimitError(size, free=0, largest_hole=0, mapped=self.mapped, kva_limit=self.limit)
        base = self._source.map(size)
        self.mapped += size
        return base

    def unmap(self, base: int, size: int) -> None:
        """Give back a mapped range."""
        self._source.unmap(base, size)
        self.mapped -= round_up(size, self.granule)

    def touch(self, base: int, size: int) -> None:
        """Access every page of a mapped range."""
        self._source.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a mapped range, and keep the mapping."""
        self._source.discard(base, size)

    def maps(self, base: int, size: int) -> bool:
        """Tell whether all of the range is mapped."""
        return self._source.maps(base, size)

    def available(self) -> int:
        """Return a size that ``map`` would grant now: what limit and source allow."""
        return min(round_down(self.limit - self.mapped, self.granule), self._source.available())
