"""`Source`: what arenas are taken from and given back to.

:class:`~coalloc.vm.kernelmap.KernelMap` is one; every space but the oracle is another, so arenas nest.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Source"]


class Source(Protocol):
    """Hands out page-aligned ranges of address space; all sizes and addresses are bytes."""

    @property
    def granule(self) -> int:
        """Every range has a base and a size that are multiples of this power of two."""

    def map(self, size: int) -> int:
        """Map a range of ``size`` rounded up to the granule, and return its base.

        Raises:
            ExhaustionError: If there is no place; nothing was mapped.
        """

    def unmap(self, base: int, size: int) -> None:
        """Give back a mapped range."""

    def touch(self, base: int, size: int) -> None:
        """Access every page of a mapped range: those not yet resident fault."""

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a mapped range, and keep the mapping."""

    def maps(self, base: int, size: int) -> bool:
        """Tell whether all of the range is mapped."""

    def available(self) -> int:
        """Return a size that ``map`` would grant now: for a kernel map the largest one, 0 if none."""
