"""The check that the checkers of all spaces share: whether the segments tile the arenas (I1, I4, I8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from coalloc.errors import Violation
from coalloc.space.protocol import Segment

__all__ = ["tiling_violations"]


def _union(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges (base, size) that touch or overlap; return them as (base, end), in address order."""
    joined: list[tuple[int, int]] = []
    for base, size in sorted(ranges):
        if joined and base <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], base + size))
        else:
            joined.append((base, base + size))
    return joined


def tiling_violations(
    arenas: Iterable[tuple[int, int]], segments: Iterable[Segment], quantum: int
) -> Iterator[Violation]:
    """Yield the violations where segments, in address order, do not tile the arenas (base, size), each in the one it names."""
    inside, size_at = list(segments), dict(arenas)
    for before, behind in pairwise(inside):
        if before.end > behind.base:
            yield Violation("I1", f"segment {before.base:#x}+{before.size} overlaps segment {behind.base:#x}")
    if _union((segment.base, segment.size) for segment in inside) != _union(size_at.items()):
        yield Violation("I1", "the segments do not cover the arenas exactly")
    for segment in inside:
        arena, size = segment.arena, size_at.get(segment.arena, 0)
        if not arena <= segment.base or segment.end > arena + size:
            yield Violation(
                "I4", f"segment {segment.base:#x}+{segment.size} crosses the boundary of the arena {arena:#x}"
            )
        if segment.base % quantum or segment.size % quantum or segment.size <= 0:
            yield Violation(
                "I8", f"{segment.base:#x}+{segment.size} is not a positive multiple of the quantum {quantum}"
            )
