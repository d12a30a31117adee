"""Metrics of fragmentation and of growth, as pure functions of sizes and counts; each docstring names the laws that hold.

The laws: a share lies in [0, 1]; one hole, or none, gives a loss of 0; scaling every size does not change a share; splitting a
hole never lowers a loss, and joining two never raises it.  Sizes are bytes (any unit will do), and sums are exact integers.

Source: Randell, CACM 1969 (internal and external fragmentation); the largest hole is RMM's measure, the squares those of
buddy_alloc, their root that of Pigweed; Gorman's indices are Linux's unusable_index and extfrag_index; availability is of
Redpanda's RFC 20201208; utilisation is the malloc grader's of CS:APP; regret is what MiniMalloc and TVM compare with; the four
of Johnstone and Wilson are of ISMM 1998.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from coalloc.errors import InvalidRequestError

__all__ = [
    "JohnstoneWilson",
    "availability",
    "external_fragmentation",
    "fragmentation_index",
    "growth_exponent",
    "internal_fragmentation",
    "johnstone_wilson",
    "quadratic_fragmentation",
    "regret",
    "root_fragmentation",
    "unusable_free_index",
    "utilisation",
]


def _require_sizes(holes: Sequence[int]) -> int:
    """Check that all holes have a size, and return their sum."""
    for size in holes:
        if type(size) is not int or size <= 0:
            raise InvalidRequestError("holes", size, "every hole has an int size > 0")
    return sum(holes)


def _require_request(size: int) -> None:
    if type(size) is not int or size <= 0:
        raise InvalidRequestError("size", size, "must be an int > 0")


def external_fragmentation(holes: Sequence[int]) -> float:
    """Return the share of the free bytes outside the largest hole: ``1 - max / sum``; 0 where nothing is free.

    Laws: in [0, 1); one hole gives 0; scale-free; splitting a hole never lowers it, joining two never raises it.

    Raises:
        InvalidRequestError: If a hole has no size.

    >>> external_fragmentation([8]), external_fragmentation([4, 4]), external_fragmentation([])
    (0.0, 0.5, 0.0)
    """
    free = _require_sizes(holes)
    return (free - max(holes)) / free if free else 0.0


def quadratic_fragmentation(holes: Sequence[int]) -> float:
    """Return ``1 - (sum of squares) / (square of the sum)``; 0 where nothing is free (buddy_alloc has an integer version).

    Laws: in [0, 1); one hole gives 0; scale-free; splitting a hole never lowers it, joining two never raises it.

    Raises:
        InvalidRequestError: If a hole has no size.

    >>> quadratic_fragmentation([8]), quadratic_fragmentation([4, 4])
    (0.0, 0.5)
    """
    free = _require_sizes(holes)
    return (free * free - sum(size * size for size in holes)) / (free * free) if free else 0.0


def root_fragmentation(holes: Sequence[int]) -> float:
    """Return ``1 - sqrt(sum of squares) / sum``; 0 where nothing is free (Pigweed, VMA's author).

    Laws: in [0, 1); one hole gives 0; scale-free; splitting a hole never lowers it, joining two never raises it.

    Raises:
        InvalidRequestError: If a hole has no size.

    >>> root_fragmentation([8]), round(root_fragmentation([4, 4]), 3)
    (0.0, 0.293)
    """
    free = _require_sizes(holes)
    return max(0.0, 1 - math.sqrt(sum(size * size for size in holes) / (free * free))) if free else 0.0


def unusable_free_index(holes: Sequence[int], size: int) -> float:
    """Return the share of the free bytes in holes too small for a request of ``size``; 0 where nothing is free (Gorman).

    Laws: in [0, 1]; grows with ``size``; scale-free in holes and size together.

    Raises:
        InvalidRequestError: If a hole, or the request, has no size.

    >>> unusable_free_index([1, 1, 6], 2)
    0.25
    """
    free = _require_sizes(holes)
    _require_request(size)
    return sum(hole for hole in holes if hole < size) / free if free else 0.0


def availability(holes: Sequence[int], size: int) -> float:
    """Return the share of the free bytes that can be had in pieces of ``size``; 1 where nothing is free (Redpanda).

    Laws: in [0, 1]; 1 for the quantum; never grows from a size to a multiple of it.

    Raises:
        InvalidRequestError: If a hole, or the request, has no size.

    >>> availability([3, 5], 1), availability([3, 5], 2), availability([3, 5], 4)
    (1.0, 0.75, 0.5)
    """
    free = _require_sizes(holes)
    _require_request(size)
    return size * sum(hole // size for hole in holes) / free if free else 1.0


def fragmentation_index(holes: Sequence[int], size: int) -> float | None:
    """Return, for a request that fails, how far fragmentation rather than want is to blame: ``1 - (1 + free / size) / k``.

    Linux's index, for k holes; towards 1 where many small holes are to blame.  None where a hole would admit the request, since
    the index speaks of failures only, and where nothing is free.

    Laws: between ``-1 / k`` and 1; scale-free in holes and size together.

    Raises:
        InvalidRequestError: If a hole, or the request, has no size.

    >>> fragmentation_index([1] * 16, 2), fragmentation_index([4], 2) is None
    (0.4375, True)
    """
    free = _require_sizes(holes)
    _require_request(size)
    if not free or max(holes) >= size:
        return None
    return 1 - (1 + free / size) / len(holes)


def internal_fragmentation(requested: int, live: int) -> float:
    """Return the share of the live bytes that nobody asked for: ``(live - requested) / live``; 0 where nothing is live.

    Laws: in [0, 1]; 0 without rounding; scale-free.

    Args:
        requested: Bytes asked for by those who hold buffers.
        live: Bytes they hold, as rounded.

    Raises:
        InvalidRequestError: If more is asked for than is live.

    >>> internal_fragmentation(6000, 8192), internal_fragmentation(0, 0)
    (0.267578125, 0.0)
    """
    if not 0 <= requested <= live:
        raise InvalidRequestError("requested", requested, f"must be in 0 .. live={live}")
    return (live - requested) / live if live else 0.0


@attrs.frozen
class JohnstoneWilson:
    """Johnstone and Wilson's four measures of waste: how far what is mapped exceeds what is live, as a share of that.

    Laws: each >= 0 where mapped >= live throughout; 0 where they are equal throughout; scale-free.

    Args:
        mean: (1) by the means over the run.
        at_peak_live: (2) at the moment of most live bytes; hides waste that comes later.
        at_peak_mapped: (3) at the moment of most mapped bytes; the harshest.
        peaks: (4) the most mapped over the most live; the usual one.
    """

    mean: float
    at_peak_live: float
    at_peak_mapped: float
    peaks: float


def johnstone_wilson(live: Sequence[int], mapped: Sequence[int]) -> JohnstoneWilson:
    """Work out the four measures of a run (ISMM 1998).

    Args:
        live: Bytes live at each moment.
        mapped: Bytes mapped at the same moments.

    Raises:
        InvalidRequestError: If the two differ in length, or nothing is ever live.

    >>> johnstone_wilson([10, 20, 10], [20, 30, 40])
    JohnstoneWilson(mean=1.25, at_peak_live=0.5, at_peak_mapped=3.0, peaks=1.0)
    """
    if len(live) != len(mapped):
        raise InvalidRequestError("mapped", len(mapped), f"must have as many samples as live, {len(live)}")
    if not any(live):
        raise InvalidRequestError("live", list(live)[:3], "something must be live at some time")
    moment = max(range(len(live)), key=lambda at: (live[at], -mapped[at]))
    worst = max(range(len(live)), key=lambda at: (mapped[at], -live[at]))
    return JohnstoneWilson(
        mean=sum(mapped) / sum(live) - 1,
        at_peak_live=mapped[moment] / live[moment] - 1,
        at_peak_mapped=mapped[worst] / live[worst] - 1 if live[worst] else math.inf,
        peaks=max(mapped) / max(live) - 1,
    )


def utilisation(live: Sequence[int], high_water: int) -> float:
    """Return the most live bytes over the high-water mark (CS:APP's grader); 1 where nothing was ever mapped.

    Laws: in [0, 1] where the mark is at least what was live; scale-free.

    Raises:
        InvalidRequestError: If more was live than the mark.

    >>> utilisation([10, 20, 10], 40), utilisation([], 0)
    (0.5, 1.0)
    """
    most = max(live, default=0)
    if most > high_water:
        raise InvalidRequestError("high_water", high_water, f"{most} bytes were live at some time")
    return most / high_water if high_water else 1.0


def regret(live: Sequence[int], high_water: int) -> float:
    """Return how many times as high as the most live bytes the mark is: what no allocator can bring below 1.

    Laws: >= 1; scale-free; 1 / utilisation.

    Raises:
        InvalidRequestError: If nothing was ever live, or more than the mark.

    >>> regret([10, 20, 10], 40)
    2.0
    """
    most = max(live, default=0)
    if not 0 < most <= high_water:
        raise InvalidRequestError("live", most, f"something must be live at some time, and no more than {high_water}")
    return high_water / most


def growth_exponent(points: Sequence[tuple[int, float]]) -> float:
    """Return the exponent e for which ``work ~ n ** e`` fits best: the slope of the logarithms, by least squares.

    0 is flat, 1 linear; a logarithm shows as a small number that falls as n rises.  Work below 1 counts as 1.

    Args:
        points: Pairs of n (> 0) and the work at n, of at least two different n.

    Raises:
        InvalidRequestError: If there are fewer, or an n is not positive.

    >>> round(growth_exponent([(10, 300), (100, 3000), (1000, 30000)]), 3), growth_exponent([(10, 7), (1000, 7)])
    (1.0, 0.0)
    """
    if len({n for n, _ in points}) < 2 or min(n for n, _ in points) <= 0:
        raise InvalidRequestError("points", points, "at least two different n > 0 are needed")
    logs = [(math.log(n), math.log(max(work, 1))) for n, work in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
