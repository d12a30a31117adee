"""`Arenas`: the ranges that a space has imported from its source within its limit; keeps I2 and I9 for the space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from sortedcontainers import SortedDict

from coalloc.contract import Release
from coalloc.errors import ExhaustionError, InvalidRequestError, SpanOverlapError, Violation
from coalloc.units import require_size, round_down
from coalloc.vm.source import Source

__all__ = ["Arenas"]


class Arenas:
    """Import and release arenas.

    Args:
        source: The source of the arenas.
        kva_limit: The most bytes that are ever mapped, > 0.
        release: The rule that says how many wholly free arenas are kept.
        is_idle: Tells whether the arena at a base is wholly free.

    Raises:
        InvalidRequestError: For an argument outside its range.
    """

    __slots__ = (
        "_is_idle",
        "_last",
        "granule",
        "idle",
        "imports",
        "kva_limit",
        "mapped",
        "peak",
        "release",
        "releases",
        "size_at",
        "source",
    )

    def __init__(self, source: Source, *, kva_limit: int, release: Release, is_idle: Callable[[int], bool]) -> None:
        if not isinstance(release, Release):
            raise InvalidRequestError("release", release, "must be a Release")
        self.source = source
        self.granule = source.granule
        self.kva_limit = require_size(kva_limit, "kva_limit")
        self.release = release
        self.size_at: SortedDict[int, int] = SortedDict()
        self.idle: list[int] = []
        """Bases of the wholly free arenas that are kept, the oldest first."""
        self.mapped = self.peak = self.imports = self.releases = 0
        self._is_idle = is_idle
        self._last = -1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.size_at.items())

    def __len__(self) -> int:
        return len(self.size_at)

    @property
    def headroom(self) -> int:
        """Bytes that the limit still allows, in whole granules."""
        return round_down(max(self.kva_limit - self.mapped, 0), self.granule)

    def around(self, address: int) -> int:
        """Return the base of the arena that holds an address.

        Complexity: O(log a) for a arenas; O(1) in the arena that was found last, as most calls are.
        """
        base = self._last
        if not base <= address < base + self.size_at.get(base, 0):
            self._last = base = self.size_at.peekitem(self.size_at.bisect_right(address) - 1)[0]
        return base

    def take(self, sizes: Iterable[int]) -> int:
        """Import an arena of the first size that the source grants, and return its base, or -1 if it grants none.

        Args:
            sizes: Bytes, in the order of preference; none may exceed ``headroom``.

        Raises:
            SpanOverlapError: If the source returns part of an arena that is already mapped, or a base off its granule.

        Complexity: O(log a) for a arenas, plus that of the source.
        """
        for size in dict.fromkeys(sizes):
            try:
                base = self.source.map(size)
            except ExhaustionError:
                continue
            if base % self.granule:
                raise SpanOverlapError((base, size), None, f"the source returned a base off its granule {self.granule}")
            index = self.size_at.bisect_left(base)
            for other, length in self.size_at.items()[max(index - 1, 0) : index + 1]:
                if base < other + length and other < base + size:
                    raise SpanOverlapError((base, size), (other, length), "the source returned part of the arena")
            self.size_at[base] = size
            self.mapped += size
            self.peak = max(self.peak, self.mapped)
            self.imports += 1
            return base
        return -1

    def give_back(self, base: int) -> None:
        """Release an arena."""
        size = self.size_at[base]
        self.source.unmap(base, size)
        del self.size_at[base]
        self.mapped -= size
        self.releases += 1

    def settle(self, arena: int) -> int:
        """Apply the release rule after a free in an arena: return the base of the arena to release, or -1 for none."""
        keep = self.release.keep
        if keep is None or not self._is_idle(arena):
            return -1
        self.idle = [base for base in self.idle if base != arena and base in self.size_at and self._is_idle(base)]
        if len(self.idle) < keep:
            self.idle.append(arena)
            return -1
        return arena

    def surplus(self, keep: int) -> list[int]:
        """Return the bases of the wholly free arenas except the ``keep`` lowest."""
        self.idle = [base for base in self.size_at if self._is_idle(base)]
        return self.idle[keep:]  # they stay listed until they are unmapped, because the source may refuse to unmap one

    def violations(self) -> Iterator[Violation]:
        """Yield the broken invariants that concern only arenas: I2, I7, I9, I10."""
        arenas = list(self)
        for (base, size), (behind, _) in pairwise(arenas):
            if base + size > behind:
                yield Violation("I2", f"arena {base:#x}+{size} overlaps arena {behind:#x}")
        for base, size in arenas:
            if not self.source.maps(base, size):
                yield Violation("I2", f"arena {base:#x}+{size} is not mapped in the source")
        total = sum(size for _, size in arenas)
        if self.mapped != total:
            yield Violation("I7", f"mapped is {self.mapped}, the arenas hold {total}")
        if self.peak < self.mapped:
            yield Violation("I7", f"the peak of mapped is {self.peak}, below {self.mapped}")
        if self.imports - self.releases != len(arenas):
            yield Violation(
                "I7", f"{self.imports} imports less {self.releases} releases do not make {len(arenas)} arenas"
            )
        if total > self.kva_limit:
            yield Violation("I9", f"{total} bytes are mapped, more than the limit {self.kva_limit}")
        idle = sum(1 for base, _ in arenas if self._is_idle(base))
        if self.release.keep is not None and idle > self.release.keep:
            yield Violation("I10", f"{idle} wholly free arenas are kept, the release rule is {self.release}")
