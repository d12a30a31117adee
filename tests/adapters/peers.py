"""Allocators from the package index as subjects: `virtual-allocator` (a list of regions) and `TLSFAllocator` (bins, in C++).

Each manages one range of its own.  So an adapter maps that range once, when it is made, and adds the range's base to what
the package answers.  Sizes are rounded to pages, since both packages leave that to their caller.
"""

from __future__ import annotations

from typing import Any

from coalloc import NEVER, PAGE_SIZE, Completeness, Contract, Fit
from coalloc.testing import WatchedSource

NO_SPACE = 2**32 - 1
"""The offset with which TLSFAllocator refuses."""
MOST = 1 << 20
"""The most pages of an adapter's range: TLSFAllocator counts in 32 bits."""


class _OneRange:
    """Hand out pages of one range by numbers."""

    quantum = PAGE_SIZE

    def __init__(self, source: WatchedSource, kva_limit: int) -> None:
        self.pages = min(kva_limit, source.available()) // PAGE_SIZE
        if self.pages > MOST:
            raise ValueError(f"{kva_limit} bytes are more than {MOST} pages")
        self._base = source.map(self.pages * PAGE_SIZE)
        self._live: dict[int, Any] = {}

    def take(self, pages: int) -> tuple[int, Any]:
        """Return the number of the first page, and what gives them back; raises MemoryError."""
        raise NotImplementedError

    def give(self, token: Any) -> None:
        """Give pages back."""
        raise NotImplementedError

    def alloc(self, size: int) -> int:
        if type(size) is not int or size < 1:
            raise ValueError(f"{size!r} is no size")
        pages = -(-size // PAGE_SIZE)
        if pages > self.pages:
            raise MemoryError(f"{size} bytes are more than there are")
        first, token = self.take(pages)
        base = self._base + first * PAGE_SIZE
        self._live[base] = token
        return base

    def free(self, base: int) -> None:
        if type(base) is not int or base not in self._live:
            raise ValueError(f"{base!r} is not live")
        self.give(self._live.pop(base))


class VirtualFirst(_OneRange):
    """First fit of `virtual-allocator`."""

    contract = Contract(fit=Fit.FIRST, release=NEVER)
    policy = "FIRST_FIT"

    def __init__(self, source: WatchedSource, *, kva_limit: int) -> None:
        import virtual_allocator as package

        super().__init__(source, kva_limit)
        self._full = package.OutOfMemoryError
        self._inner = package.Allocator(0, self.pages, 1, 1, getattr(package.AllocationPolicy, self.policy))

    def take(self, pages: int) -> tuple[int, Any]:
        try:
            region = self._inner.allocate(pages)
        except self._full as error:
            raise MemoryError(str(error)) from error
        return region.address, region

    def give(self, token: Any) -> None:
        self._inner.free(token)


class VirtualBest(VirtualFirst):
    """Best fit of `virtual-allocator`."""

    contract = Contract(fit=Fit.BEST, release=NEVER)
    policy = "BEST_FIT"


class Bins(_OneRange):
    """`TLSFAllocator`: bins of floats with three bits of mantissa, so that 17 pages of an empty 17 are refused."""

    contract = Contract(fit=None, completeness=Completeness.TLSF(8), release=NEVER)

    def __init__(self, source: WatchedSource, *, kva_limit: int) -> None:
        import TLSFAllocator as package  # noqa: N813 (the package's name)

        super().__init__(source, kva_limit)
        self._inner = package.OffsetAllocator(self.pages, 1 << 16)

    def take(self, pages: int) -> tuple[int, Any]:
        token = self._inner.allocate(pages)
        if token.offset == NO_SPACE:
            raise MemoryError(f"{pages} pages do not fit")
        return token.offset, token

    def give(self, token: Any) -> None:
        self._inner.free(token)
