"""Buffers whose lifetimes are known: bounds on the address space that they need, and a check of any placement.

Whoever knows every lifetime beforehand may need less address space than any allocator, which must place each buffer when it
comes.  The most bytes that live at once are a bound from below.  Every placement is a bound from above.  Where the two meet,
the placement is proven to be the best.  The problem is NP-hard (dynamic storage allocation; Garey and Johnson, SR2), so that
:func:`greedy` tries a few orders, and places each buffer at the lowest address that is free for its whole life.

:func:`misplaced` checks a placement, whoever made it; it shares nothing with what makes one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from sortedcontainers import SortedDict

from coalloc.errors import InvalidRequestError
from coalloc.workload.program import SpaceOpKind, SpaceProgram

__all__ = ["Life", "greedy", "height", "lives_of", "lower_bound", "misplaced"]

_MANY: Final = 4000
"""From so many lives on they are placed in the order of their beginnings only: the other orders take a square of the time."""


class Life(NamedTuple):
    """A buffer of ``size`` bytes (> 0) that lives from ``begin`` until just before ``end``, which is later; in any unit."""

    begin: int
    end: int
    size: int


def lives_of(program: SpaceProgram, *, quantum: int = 1) -> tuple[Life, ...]:
    """Return the lives of a program's buffers; times are numbers of operations, and a resize begins another life.

    Args:
        program: The program; buffers that it does not free live until its end.
        quantum: Sizes are rounded up to a multiple of it, >= 1.

    Raises:
        InvalidRequestError: If the quantum is not an int >= 1.

    >>> lives_of(SpaceProgram([(0, 0, 5), (0, 1, 9), (1, 0, 0)]), quantum=4)
    (Life(begin=0, end=2, size=8), Life(begin=1, end=3, size=12))
    """
    if type(quantum) is not int or quantum < 1:
        raise InvalidRequestError("quantum", quantum, "must be an int >= 1")
    lives: list[Life] = []
    current: dict[int, int] = {}  # by buffer: the number of its life
    for time, (kind, buffer, size) in enumerate(program.rows()):
        if kind != SpaceOpKind.ALLOC:
            number = current.pop(buffer)
            lives[number] = lives[number]._replace(end=time)
        if kind != SpaceOpKind.FREE:
            current[buffer] = len(lives)
            lives.append(Life(time, len(program), -(-size // quantum) * quantum))
    return tuple(lives)


def lower_bound(lives: Iterable[Life]) -> int:
    """Return the most bytes that live at once; no placement needs less.

    Complexity: O(n log n).

    >>> lower_bound([Life(0, 2, 5), Life(1, 3, 7), Life(2, 4, 5)])
    12
    """
    changes = sorted(change for begin, end, size in lives for change in ((begin, size), (end, -size)))
    return max(accumulate(size for _, size in changes), default=0)


def height(lives: Sequence[Life], bases: Sequence[int]) -> int:
    """Return the end of the highest buffer of a placement: the address space that it needs."""
    return max((base + life.size for life, base in zip(lives, bases, strict=True)), default=0)


def misplaced(lives: Sequence[Life], bases: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the faults of a placement: pairs of lives that overlap in time and in addresses, or a life below 0 with itself.

    Args:
        lives: The lives.
        bases: The base of each, in the same order.

    Raises:
        InvalidRequestError: If there is not one int for each life.

    Guarantees:
        It is empty if and only if the placement is valid.  Where many lives overlap, not every pair is named.

    Complexity: O(n log n).

    >>> misplaced([Life(0, 2, 5), Life(1, 3, 7)], [0, 4])
    ((0, 1),)
    """
    if len(bases) != len(lives) or any(type(base) is not int for base in bases):
        raise InvalidRequestError("bases", len(bases), f"must be one int for each of {len(lives)} lives")
    faults = [(number, number) for number, base in enumerate(bases) if base < 0]
    moments = sorted(
        moment for number, life in enumerate(lives) for moment in ((life.begin, 1, number), (life.end, 0, number))
    )
    there: SortedDict[int, int] = SortedDict()  # by base: who lies there now; who overlaps somebody is left out
    for _, begins, number in moments:
        base = bases[number]
        if not begins:
            if there.get(base) == number:
                del there[base]
            continue
        at = there.bisect_right(base)
        below = there.peekitem(at - 1) if at else None
        above = there.peekitem(at) if at < len(there) else None
        if below is not None and below[0] + lives[below[1]].size > base:
            faults.append((below[1], number))
        elif above is not None and base + lives[number].size > above[0]:
            faults.append((above[1], number))
        else:
            there[base] = number
    return tuple(faults)


def greedy(lives: Sequence[Life]) -> tuple[int, ...]:
    """Return the base of each life in the lowest of a few placements, each made in another order at the lowest free addresses.

    Complexity: O(n ** 2) for each order; from 4,000 lives on one order, O(n * m log m) for m lives at once.

    >>> greedy([Life(0, 2, 5), Life(1, 3, 7), Life(2, 4, 5)])
    (0, 5, 0)
    """
    in_time = _in_order_of_time(lives)
    if len(lives) >= _MANY:
        return in_time
    orders: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-lives[i].size, lives[i].begin, i),
        lambda i: (-lives[i].size * (lives[i].end - lives[i].begin), i),
        lambda i: (lives[i].begin - lives[i].end, -lives[i].size, i),
    )
    placements = [in_time, *(_lowest_first(lives, sorted(range(len(lives)), key=order)) for order in orders)]
    return min(placements, key=lambda bases: height(lives, bases))


def _lowest_first(lives: Sequence[Life], order: Iterable[int]) -> tuple[int, ...]:
    """Place the lives in an order, each at the lowest address that is free for its whole life."""
    bases = [0] * len(lives)
    placed: list[tuple[int, int, int, int]] = []  # base, end of its addresses, begin, end: sorted by the base
    for number in order:
        begin, end, size = lives[number]
        base = 0
        for low, high, since, until in placed:
            if low >= base + size:
                break
            if since < end and begin < until and high > base:
                base = high
        bases[number] = base
        insort(placed, (base, base + size, begin, end))
    return tuple(bases)


def _in_order_of_time(lives: Sequence[Life]) -> tuple[int, ...]:
    """Place the lives as they begin, each at the lowest address that is free then, as first fit does."""
    bases = [0] * len(lives)
    there: list[tuple[int, int, int]] = []  # base, end of its addresses, when it ends: sorted by the base
    for number in sorted(range(len(lives)), key=lambda i: (lives[i].begin, -lives[i].size, i)):
        begin, end, size = lives[number]
        there = [item for item in there if item[2] > begin]
        base = 0
        for low, high, _ in there:
            if low >= base + size:
                break
            base = high
        bases[number] = base
        insort(there, (base, base + size, end))
    return tuple(bases)
