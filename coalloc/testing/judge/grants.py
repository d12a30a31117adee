"""Judging what was granted: disjoint, inside an arena, as constrained, and where the declared fit puts it."""

from __future__ import annotations

from coalloc import spec
from coalloc.contract import Bounds, Fit, Geometry
from coalloc.testing.judge.books import Books
from coalloc.testing.properties import Breach, Property

__all__ = ["must_find_a_hole", "require_bounds", "require_place", "room_behind"]


def require_bounds(base: int, size: int, bounds: Bounds, quantum: int) -> None:
    """Hold an address to the quantum and to the constraints of its request."""
    if base % quantum:
        raise Breach(Property.P3, f"{base:#x} is not a multiple of the quantum {quantum}")
    if bounds.align and base % bounds.align != bounds.phase:
        raise Breach(Property.P3, f"{base:#x} is not {bounds.phase} behind a multiple of {bounds.align}")
    if bounds.nocross and base // bounds.nocross != (base + size - 1) // bounds.nocross:
        raise Breach(Property.P3, f"{base:#x}+{size} crosses a multiple of {bounds.nocross}")
    if base < bounds.lo:
        raise Breach(Property.P3, f"{base:#x} is below lo={bounds.lo:#x}")
    if base + size - 1 > bounds.hi:
        raise Breach(Property.P3, f"{base:#x}+{size} ends above {bounds.hi:#x}")


def require_place(
    books: Books, base: int, size: int, bounds: Bounds, fit: Fit | None, shown: dict[int, int], *, ages_known: bool
) -> None:
    """Hold a carved range to what the specification allows.

    Args:
        books: What is where.
        base: What was granted.
        size: Its size, as rounded.
        bounds: The constraints of the request.
        fit: The fit that is judged; None allows every place.
        shown: Base and size of what the allocator shows as cached.
        ages_known: Whether the allocator's holes are as old as those of the books.
    """
    for owner, length in books.live.values():
        if owner < base + size and base < owner + length:
            raise Breach(Property.P1, f"{base:#x}+{size} overlaps the live buffer {owner:#x}+{length}")
    for owner, length in shown.items():
        if owner < base + size and base < owner + length:
            raise Breach(Property.P1, f"{base:#x}+{size} overlaps {owner:#x}+{length}, which is still cached")
    require_bounds(base, size, bounds, books.quantum)
    arena = spec.arena_at(books.state, base)
    if arena is None or base + size > arena.base + arena.size:
        raise Breach(Property.P2, f"{base:#x}+{size} lies in no mapped arena")
    place = (base - arena.base) // books.quantum
    if not spec.admissible(books.state, arena, size, bounds) >> place & 1:
        raise Breach(Property.P3, f"{base:#x}+{size} is not a block of the buddy system")
    if fit is None:
        return
    choices = books.choices(size, bounds, fit, ages_known=ages_known)
    if base not in choices:
        where = " or ".join(f"{choice:#x}" for choice in choices[:3])
        raise Breach(Property.P8, f"{size} bytes lie at {base:#x}; {fit.value} fit puts them at {where}")


def must_find_a_hole(books: Books, size: int, bounds: Bounds, fit: Fit | None) -> bool:
    """Tell whether the declared completeness obliges the allocator to find one of the holes that there are."""
    return fit is not None and spec.must_serve(books.state, size, bounds, books.contract.completeness)


def room_behind(books: Books, base: int, old: int, size: int) -> bool:
    """Tell whether a buffer could grow where it lies: into what is free behind it, in its arena; for buddies, as one block."""
    arena = spec.arena_at(books.state, base)
    assert arena is not None  # a live buffer lies in an arena
    if base + size > arena.base + arena.size or (
        books.contract.geometry is Geometry.BUDDY and (base - arena.base) % size
    ):
        return False
    return size <= old or spec.is_free(books.state, base + old, size - old)
