"""What checkers of spaces have in common: do segments tile the arenas, and what is wrong if not (I1, I4, I8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from coalloc.errors import Violation
from coalloc.space.protocol import Segment

__all__ = ["tiling_violations"]


def tiling_violations(
    arenas: Iterable[tuple[int, int]], segments: Iterable[Segment], quantum: int
) -> Iterator[Violation]:
    """Yield what keeps segments, in address order, from tiling arenas (base, size)."""
    inside = list(segments)
    for before, behind in pairwise(inside):
        if before.end > behind.base:
            yield Violation("I1", f"segment {before.base:#x}+{before.size} overlaps segment {behind.base:#x}")
    total = 0
    for base, size in arenas:
        total += size
        mine = [segment for segment in inside if base <= segment.base < base + size]
        for segment in mine:
            if segment.end > base + size:
                yield Violation(
                    "I4", f"segment {segment.base:#x}+{segment.size} crosses the end of the arena {base:#x}"
                )
            if segment.arena != base:
                yield Violation("I4", f"segment {segment.base:#x} is told to lie in the arena {segment.arena:#x}")
        if sum(segment.size for segment in mine) != size:
            yield Violation("I1", f"the segments do not cover the arena {base:#x}+{size}")
    if total != sum(segment.size for segment in inside):
        yield Violation("I1", "the segments do not cover the arenas exactly")
    for segment in inside:
        if segment.base % quantum or segment.size % quantum or segment.size <= 0:
            yield Violation(
                "I8", f"{segment.base:#x}+{segment.size} is not a positive multiple of the quantum {quantum}"
            )
