"""The state of an address space as plain values: arenas, what is free in them, and the ages of the holes.

A *hole* is a maximal free range inside one arena; for buddies, a maximal free block of a power of two of quanta that begins
at a multiple of its size from the base of its arena.  Each hole has a *birth*: when its bounds were last changed.  Of two holes
that one change leaves, the upper is the newer.

Every function returns a new state, and leaves the one that it was given as it is.  Addresses and sizes are bytes.

>>> state = enter(State(quantum=1), 0, 16)
>>> state = give(take(take(state, 0, 4), 4, 4), 0, 4)
>>> state.holes
((0, 4), (8, 8))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter

import attrs

from coalloc.contract import Geometry
from coalloc.errors import SpanOverlapError
from coalloc.spec.quanta import runs, span

__all__ = ["Arena", "State", "arena_at", "enter", "give", "is_free", "leave", "take"]


@attrs.frozen(slots=True)
class Arena:
    """One arena.

    Args:
        base: Its first address.
        size: Its bytes.
        free: Its free quanta, counted from its base.
        holes: Base and size of each hole, in the order of addresses.
        births: When each hole was born.
    """

    base: int
    size: int
    free: int
    holes: tuple[tuple[int, int], ...]
    births: tuple[int, ...]


@attrs.frozen(slots=True)
class State:
    """Arenas in the order of their addresses, and how many births there were.

    Args:
        quantum: Bytes of a quantum, a power of two.
        geometry: Which free ranges are holes.
        arenas: The arenas, by address; they may touch, and do not overlap.
        clock: The last birth.
    """

    quantum: int
    geometry: Geometry = Geometry.ANY
    arenas: tuple[Arena, ...] = ()
    clock: int = 0

    @property
    def holes(self) -> tuple[tuple[int, int], ...]:
        """Base and size of every hole, in the order of addresses."""
        return tuple(hole for arena in self.arenas for hole in arena.holes)

    @property
    def births(self) -> dict[tuple[int, int], int]:
        """When each hole was born."""
        return {hole: birth for arena in self.arenas for hole, birth in zip(arena.holes, arena.births, strict=True)}

    @property
    def mapped(self) -> int:
        """Bytes of all arenas."""
        return sum(arena.size for arena in self.arenas)


_base = attrgetter("base")


def arena_at(state: State, address: int) -> Arena | None:
    """Return the arena that holds an address."""
    index = bisect_right(state.arenas, address, key=_base) - 1
    if index < 0:
        return None
    arena = state.arenas[index]
    return arena if address < arena.base + arena.size else None


def is_free(state: State, base: int, size: int) -> bool:
    """Tell whether [base, base + size), whole quanta, is free and lies in one arena."""
    arena = arena_at(state, base)
    if arena is None or size <= 0 or base + size > arena.base + arena.size:
        return False
    wanted = _quanta(state, arena, base, size)
    return arena.free & wanted == wanted


def enter(state: State, base: int, size: int) -> State:
    """Add an arena, wholly free.

    Raises:
        SpanOverlapError: If it overlaps another.
    """
    index = bisect_right(state.arenas, base, key=_base)
    for other in state.arenas[max(index - 1, 0) : index + 1]:
        if base < other.base + other.size and other.base < base + size:
            raise SpanOverlapError((base, size), (other.base, other.size), "overlaps the arena")
    return _with(state, index, index, Arena(base, size, 0, (), ()), span(0, size // state.quantum))


def leave(state: State, base: int, size: int) -> State:
    """Take away an arena.

    Raises:
        SpanOverlapError: If it is no arena of that size, or not wholly free.
    """
    arena = arena_at(state, base)
    if arena is None or (arena.base, arena.size) != (base, size):
        raise SpanOverlapError((base, size), None, "is no arena")
    if arena.free != span(0, size // state.quantum):
        raise SpanOverlapError((base, size), None, "is not wholly free")
    index = bisect_right(state.arenas, base, key=_base)
    return attrs.evolve(state, arenas=state.arenas[: index - 1] + state.arenas[index:])


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
    return _with(state, index - 1, index, arena, arena.free ^ _quanta(state, arena, base, size))


def _with(state: State, start: int, stop: int, arena: Arena, free: int) -> State:
    """Put an arena with other free quanta in the place of others; its holes that have new bounds are born, the lower first."""
    born, clock = dict(zip(arena.holes, arena.births, strict=True)), state.clock
    holes, births = [], []
    for hole in _holes(state, arena.base, free):
        birth = born.get(hole)
        if birth is None:
            birth = clock = clock + 1
        holes.append(hole)
        births.append(birth)
    arena = Arena(arena.base, arena.size, free, tuple(holes), tuple(births))
    return State(state.quantum, state.geometry, (*state.arenas[:start], arena, *state.arenas[stop:]), clock)


def _holes(state: State, base: int, free: int) -> Iterator[tuple[int, int]]:
    """Find the holes of an arena from its base and what is free in it, ascending."""
    quantum = state.quantum
    for first, n in runs(free):
        if state.geometry is Geometry.ANY:
            yield base + first * quantum, n * quantum
            continue
        end = first + n
        while first < end:
            block = 1
            while first % (2 * block) == 0 and first + 2 * block <= end:
                block *= 2
            yield base + first * quantum, block * quantum
            first += block
