"""Which places of an arena admit a request: a set of quanta, each the first of a place; keeps to vmem(9)'s constraints.

A request is a size, all bytes that it occupies (:func:`coalloc.spec.sizes.occupied`), and bounds.  The bounds are for the
buffer.  Its *frame* says how many of the bytes lie in front of it and how many behind.  Sizes and addresses are bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from coalloc.contract import ANYWHERE, Bounds, End, Geometry
from coalloc.spec.quanta import every, lowest, members, span, spread, starts
from coalloc.spec.sizes import round_to
from coalloc.spec.state import Arena, State, holes_in
from coalloc.units import MAX_ADDRESS

__all__ = ["BARE", "Frame", "admissible", "lawful", "lowest_in", "place_in", "places", "possible"]


class Frame(NamedTuple):
    """Bytes that a request occupies in front of its buffer and behind it, whole quanta."""

    front: int = 0
    back: int = 0


BARE = Frame()
"""No bytes beside the buffer."""


def lawful(size: int, bounds: Bounds, quantum: int) -> bool:
    """Tell whether a request keeps the rules of vmem(9), so that it may be made at all; ``size`` is rounded."""
    align, phase, nocross = bounds.align, bounds.phase, bounds.nocross
    return (
        not align & (align - 1)
        and not nocross & (nocross - 1)
        and (not phase or (phase < align and phase % quantum == 0))
        and (not nocross or nocross >= size)
        and bounds.lo <= bounds.hi
    )


def admissible(state: State, arena: Arena, size: int, bounds: Bounds = ANYWHERE, frame: Frame = BARE) -> int:
    """Return the quanta of an arena, counted from its base, at which a request could begin.

    A block of the buddy system begins at a multiple of its size, and has to meet the bounds as well.
    """
    quantum = state.quantum
    n, total = size // quantum, arena.size // quantum
    found = starts(arena.free, n)
    if state.geometry is not Geometry.ANY and found:
        offset = arena.base // quantum if state.geometry is Geometry.BUDDY_ABSOLUTE else 0
        found &= every(n, -offset % n, total)
    if bounds == ANYWHERE or not found:
        return found
    front = frame.front // quantum
    buffer = n - front - frame.back // quantum
    return found & _within(arena.base, total, buffer, bounds, quantum) >> front


def _within(base: int, total: int, n: int, bounds: Bounds, quantum: int) -> int:
    """Return at which of ``total`` quanta from ``base`` a range of ``n`` quanta keeps the bounds, whatever is free."""
    found = span(0, total)
    if bounds.align > quantum:
        found &= every(bounds.align // quantum, (bounds.phase - base) % bounds.align // quantum, total)
    if bounds.nocross:
        multiples = every(bounds.nocross // quantum, -base % bounds.nocross // quantum, total)
        found &= ~spread(multiples >> 1, n - 2) if n > 1 else -1  # a multiple behind the first quantum is crossed
    if bounds.lo > base:
        found &= -1 << min(round_to(bounds.lo - base, quantum) // quantum, total)
    last = bounds.hi + 1 - base - n * quantum
    return found & span(0, min(last // quantum + 1, total)) if last >= 0 else 0


def places(state: State, size: int, bounds: Bounds = ANYWHERE, frame: Frame = BARE) -> list[int]:
    """Return every address at which a request could begin, ascending."""
    return [
        arena.base + at * state.quantum
        for arena in state.arenas
        for at in members(admissible(state, arena, size, bounds, frame))
    ]


def place_in(
    state: State, size: int, bounds: Bounds = ANYWHERE, frame: Frame = BARE, end: End = End.LOW
) -> dict[tuple[int, int], int]:
    """Return the place nearest to an end of every hole (base, size) that admits a request, holes in the order of addresses."""
    found: dict[tuple[int, int], int] = {}
    quantum = state.quantum
    for arena in state.arenas:
        if not arena.free:
            continue
        where = admissible(state, arena, size, bounds, frame)
        if where:
            for base, length in holes_in(state, arena):
                if length < size:
                    continue
                inside = where >> (base - arena.base) // quantum & span(0, length // quantum)
                if inside:
                    at = lowest(inside) if end is End.LOW else inside.bit_length() - 1
                    found[base, length] = base + at * quantum
    return found


def lowest_in(state: State, size: int, bounds: Bounds = ANYWHERE) -> dict[tuple[int, int], int]:
    """Return the lowest place in every hole that admits a request, as :func:`place_in` does."""
    return place_in(state, size, bounds)


def possible(size: int, bounds: Bounds, quantum: int) -> bool:
    """Tell whether a place could meet the bounds somewhere in an address space that is all free; ``size`` is rounded.

    Constraints repeat: what no place of one period meets, none does.  The period that is looked at begins at ``lo``.
    """
    if size > MAX_ADDRESS + 1 - bounds.lo:
        return False
    period = max(bounds.align, bounds.nocross, quantum)
    align = max(bounds.align, quantum)
    first = round_to(max(bounds.lo - bounds.phase, 0), align) + bounds.phase
    for start in (first, round_to(max(round_to(bounds.lo, period) - bounds.phase, 0), align) + bounds.phase):
        fits = not bounds.nocross or start // bounds.nocross == (start + size - 1) // bounds.nocross
        if fits and start + size - 1 <= bounds.hi:
            return True
    return False
