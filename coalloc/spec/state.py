"""The state of an address space as plain values: arenas, what is free in them, and the ages of the holes.

A *hole* is a maximal free range inside one arena; for buddies, a maximal free block of a power of two of quanta that begins
at a multiple of its size, counted from the base of its arena or from address 0.  Each hole has a *birth*: when its bounds were
last changed.  Of two holes that one change leaves, the upper is the newer.

Every function returns a new state, and leaves the one that it was given as it is.  Addresses and sizes are bytes.

>>> state = enter(State(quantum=1), 0, 16)
>>> state = give(take(take(state, 0, 4), 4, 4), 0, 4)
>>> state.holes
((0, 4), (8, 8))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from coalloc.contract import Geometry
from coalloc.errors import SpanOverlapError
from coalloc.spec.quanta import runs, span

__all__ = ["Arena", "State", "arena_at", "enter", "give", "holes_in", "is_free", "leave", "take"]

_NOTHING: Final[Mapping[tuple[int, int], int]] = MappingProxyType({})


class Arena(NamedTuple):
    """One arena; where arenas that touch are joined, all of them that do.

    Args:
        base: Its first address.
        size: Its bytes.
        free: Its free quanta, counted from its base.
    """

    base: int
    size: int
    free: int


class State(NamedTuple):
    """Arenas in the order of their addresses, and how many births there were.

    Args:
        quantum: Bytes of a quantum.
        geometry: Which free ranges are holes.
        block: Bytes of the largest block of buddies; 0 sets no bound.
        joined: Whether arenas that touch are one.
        aged: Whether births are kept; no fit but BEST and WORST with the newest tie, INSTANT and CLASS_BEST needs them.
        arenas: The arenas, by address; they do not overlap.
        clock: The last birth.
        births: When each hole (base, size) was born; empty if births are not kept.
    """

    quantum: int
    geometry: Geometry = Geometry.ANY
    block: int = 0
    joined: bool = False
    aged: bool = True
    arenas: tuple[Arena, ...] = ()
    clock: int = 0
    births: Mapping[tuple[int, int], int] = _NOTHING

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """Base and size of every hole, in the order of addresses."""
        return tuple(hole for arena in self.arenas for hole in holes_in(self, arena))

    @property
    def mapped(self) -> int:
        """Bytes of all arenas."""
        return sum(arena.size for arena in self.arenas)


_base = attrgetter("base")


def arena_at(state: State, address: int) -> Arena | None:
    """Return the arena that holds an address."""
    index = bisect_right(state.arenas, address, key=_base)
    if not index:
        return None
    arena = state.arenas[index - 1]
    return arena if address < arena.base + arena.size else None


def is_free(state: State, base: int, size: int) -> bool:
    """Tell whether [base, base + size), whole quanta, is free and lies in one arena."""
    arena = arena_at(state, base)
    if arena is None or size <= 0 or base + size > arena.base + arena.size:
        return False
    wanted = _quanta(state, arena, base, size)
    return arena.free & wanted == wanted


def holes_in(state: State, arena: Arena) -> tuple[tuple[int, int], ...]:
    """Return base and size of every hole of an arena, in the order of addresses."""
    return _holes(arena.base, arena.free, state.quantum, state.geometry, state.block)


def enter(state: State, base: int, size: int) -> State:
    """Add an arena, wholly free.

    Raises:
        SpanOverlapError: If it overlaps another.
    """
    index = bisect_right(state.arenas, base, key=_base)
    for other in state.arenas[max(index - 1, 0) : index + 1]:
        if base < other.base + other.size and other.base < base + size:
            raise SpanOverlapError((base, size), (other.base, other.size), "overlaps the arena")
    start = stop = index
    arena = Arena(base, size, span(0, size // state.quantum))
    if state.joined and index and sum(state.arenas[index - 1][:2]) == base:
        start, before = index - 1, state.arenas[index - 1]
        arena = Arena(before.base, before.size + size, before.free | arena.free << before.size // state.quantum)
    if state.joined and index < len(state.arenas) and state.arenas[index].base == base + size:
        stop, after = index + 1, state.arenas[index]
        arena = Arena(arena.base, arena.size + after.size, arena.free | after.free << arena.size // state.quantum)
    return _with(state, start, stop, (arena,))


def leave(state: State, base: int, size: int) -> State:
    """Take away an arena, or a part of what was joined.

    Raises:
        SpanOverlapError: If it is no arena of that size, or not wholly free.
    """
    arena = arena_at(state, base)
    if arena is None or ((arena.base, arena.size) != (base, size) and not state.joined) or base + size > sum(arena[:2]):
        raise SpanOverlapError((base, size), None, "is no arena")
    if not is_free(state, base, size):
        raise SpanOverlapError((base, size), None, "is not wholly free")
    index = bisect_right(state.arenas, base, key=_base)
    below, above = (base - arena.base) // state.quantum, (base + size - arena.base) // state.quantum
    rests = []
    if below:
        rests.append(Arena(arena.base, base - arena.base, arena.free & span(0, below)))
    if base + size < arena.base + arena.size:
        rests.append(Arena(base + size, arena.base + arena.size - base - size, arena.free >> above))
    return _with(state, index - 1, index, tuple(rests))


def take(state: State, base: int, size: int) -> State:
    """Make [base, base + size) busy.

    Raises:
        SpanOverlapError: If it is not free, or does not lie in one arena.
    """
    if not is_free(state, base, size):
        raise SpanOverlapError((base, size), None, "does not lie in one hole")
    return _flip(state, base, size)


def give(state: State, base: int, size: int) -> State:
    """Make [base, base + size), which is busy, free.

    Raises:
        SpanOverlapError: If a part of it is free, or it does not lie in one arena.
    """
    arena = arena_at(state, base)
    if arena is None or base + size > arena.base + arena.size or arena.free & _quanta(state, arena, base, size):
        raise SpanOverlapError((base, size), None, "is not busy")
    return _flip(state, base, size)


def _quanta(state: State, arena: Arena, base: int, size: int) -> int:
    return span((base - arena.base) // state.quantum, size // state.quantum)


def _flip(state: State, base: int, size: int) -> State:
    """Make what is free busy, and what is busy free."""
    index = bisect_right(state.arenas, base, key=_base)
    arena = state.arenas[index - 1]
    changed = Arena(arena.base, arena.size, arena.free ^ _quanta(state, arena, base, size))
    return _with(state, index - 1, index, (changed,))


def _with(state: State, start: int, stop: int, arenas: tuple[Arena, ...]) -> State:
    """Put arenas in the place of others; their holes that have new bounds are born, the lower first."""
    after = (*state.arenas[:start], *arenas, *state.arenas[stop:])
    quantum, geometry, block, joined, aged, _, clock, births = state
    if not aged:
        return State(quantum, geometry, block, joined, aged, after, clock)
    now = dict(births)
    for arena in state.arenas[start:stop]:
        for hole in holes_in(state, arena):
            del now[hole]
    for arena in arenas:
        for hole in holes_in(state, arena):
            birth = births.get(hole)
            if birth is None:
                birth = clock = clock + 1
            now[hole] = birth
    return State(quantum, geometry, block, joined, aged, after, clock, now)


@lru_cache(maxsize=1 << 14)
def _holes(base: int, free: int, quantum: int, geometry: Geometry, most: int) -> tuple[tuple[int, int], ...]:
    """Find the holes of an arena from its base and what is free in it, ascending."""
    if geometry is Geometry.ANY:
        return tuple((base + first * quantum, n * quantum) for first, n in runs(free))
    found = []
    offset = base // quantum if geometry is Geometry.BUDDY_ABSOLUTE else 0
    for first, n in runs(free):
        end = first + n
        while first < end:
            block = 1
            while (first + offset) % (2 * block) == 0 and first + 2 * block <= end and block * quantum != most:
                block *= 2
            found.append((base + first * quantum, block * quantum))
            first += block
    return tuple(found)
