"""Judging what was granted: disjoint, inside an arena, as constrained, and where the declared fit puts it."""

from __future__ import annotations

from coalloc import spec
from coalloc.contract import Bounds, Fit
from coalloc.testing.judge.books import Books
from coalloc.testing.properties import Breach, Property

__all__ = ["must_find_a_hole", "require_bounds", "require_place", "room_around", "room_behind", "spared"]


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
    books: Books,
    asked: int,
    base: int,
    size: int,
    bounds: Bounds,
    fit: Fit | None,
    shown: dict[int, int],
    *,
    ages_known: bool,
) -> None:
    """Hold a carved range to what the specification allows.

    Args:
        books: What is where.
        asked: The bytes that were asked for.
        base: Where the range begins.
        size: All bytes that the request occupies.
        bounds: The constraints of the request.
        fit: The fit that is judged; None allows every place.
        shown: Base and size of what the allocator shows as cached.
        ages_known: Whether the allocator's holes are as old as those of the books.
    """
    free = spec.is_free(books.state, base, size)
    for owner, length in () if free else books.live.values():
        if owner < base + size and base < owner + length:
            words = f"{base:#x}+{size} overlaps the live buffer {owner:#x}+{length}"
            raise Breach(Property.P1, words, at=(base, size))
    for owner, length in shown.items():
        if owner < base + size and base < owner + length:
            words = f"{base:#x}+{size} overlaps {owner:#x}+{length}, which is still cached"
            raise Breach(Property.P1, words, at=(base, size))
    front, back = books.frame
    require_bounds(base + front, size - front - back, bounds, books.quantum)
    arena = spec.arena_at(books.state, base)
    if arena is None or not free:
        raise Breach(Property.P2, f"{base:#x}+{size} lies in no mapped arena", at=(base, size))
    place = (base - arena.base) // books.quantum
    blocks = books.contract.geometry.buddies
    if blocks and not spec.admissible(books.state, arena, size, bounds, books.frame) >> place & 1:
        raise Breach(Property.P3, f"{base:#x}+{size} is not a block of the buddy system")
    kept = spared(books, least=True)
    if kept and sum(length for _, length in books.live.values()) + size > books.due - kept:
        raise Breach(Property.P11, f"{base:#x}+{size} takes from the {kept} bytes that are kept in reserve")
    if fit is None:
        return
    choices = books.choices(asked, size, bounds, fit, ages_known=ages_known)
    if base not in choices:
        where = " or ".join(f"{choice:#x}" for choice in choices[:3]) or "no place"
        name = books.rule_for(asked, fit)[0]
        assert name is not None  # a fit is declared
        words = f"{size} bytes lie at {base:#x}; {name.value} fit puts them at {where}"
        raise Breach(Property.P8, words, at=(base, size), expected=choices)


def spared(books: Books, *, least: bool) -> int:
    """Return the bytes of the limit that are kept in reserve, at least or at most: a percentage may be rounded either way."""
    contract = books.contract
    share = books.due * contract.reserve_percent
    if least:
        return contract.reserve + share // 100
    kept = contract.reserve - (-share // 100)
    return spec.round_to(kept, books.quantum) + books.due % max(books.granule, books.quantum) if kept else 0


def must_find_a_hole(books: Books, size: int, bounds: Bounds, fit: Fit | None) -> bool:
    """Tell whether the declared completeness obliges the allocator to find one of the holes that there are."""
    if fit is None or books.contract.ahead:
        return False
    return spec.must_serve(books.sure, size, bounds, books.contract.completeness, books.frame)


def room_behind(books: Books, base: int, old: int, size: int) -> bool:
    """Tell whether a buffer could grow where it lies: into what is free behind it, in its arena; for buddies, as one block."""
    arena = spec.arena_at(books.state, base)
    assert arena is not None  # a live buffer lies in an arena
    if base + size > arena.base + arena.size:
        return False
    if books.contract.geometry.buddies:
        freed = spec.give(books.state, base, old)
        arena = spec.arena_at(freed, base)
        assert arena is not None  # as before
        if not spec.admissible(freed, arena, size) >> (base - arena.base) // books.quantum & 1:
            return False
    return size <= old or spec.is_free(books.state, base + old, size - old)


def room_around(books: Books, base: int, old: int) -> tuple[int, int]:
    """Return base and size of the free range that there would be without a live buffer: where a resize may slide it."""
    freed = spec.give(books.state, base, old)
    arena = spec.arena_at(freed, base)
    assert arena is not None  # a live buffer lies in an arena
    return next(hole for hole in spec.holes_in(freed, arena) if hole[0] <= base < sum(hole))
