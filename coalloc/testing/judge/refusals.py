"""Judging what was refused: no hole may admit it, caches drained and idle arenas released, and no arena could be mapped for it.

A refusal that explains itself is held to what it says, too: its figures, its holes, and its remedies, each of which must help,
and be the smallest of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from coalloc import spec
from coalloc.contract import ANYWHERE, Bounds, Completeness
from coalloc.errors import BadFreeError, Change, ExhaustionError, FreeFault, KvaLimitError
from coalloc.testing.judge.books import Books
from coalloc.testing.judge.grants import spared
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import WatchedSource

__all__ = ["Refused", "require_explanation", "require_fault", "require_figures", "require_refusal"]


_SMALL: Final = 16
"""Completeness.BEST_EFFORT must serve what is so many times smaller than the limit, when nothing is live."""


@attrs.frozen
class Refused:
    """A request that was refused.

    Args:
        words: The call, for messages.
        asked: The bytes that were asked for.
        size: All bytes that it occupies.
        bounds: Its constraints.
        starved: Whether a map call of the source was made to fail, or foretold to.
        gave_back: Whether an arena was unmapped during the call.
    """

    words: str
    asked: int
    size: int
    bounds: Bounds
    starved: bool
    gave_back: bool = False


def require_refusal(books: Books, refused: Refused, source: WatchedSource, *, reclaims: bool) -> bool:
    """Hold a refusal to the declared completeness; return whether nothing could have served it.

    Args:
        books: What is where, after the call.
        refused: What was refused.
        source: What arenas are taken from.
        reclaims: Whether the allocator can be told to release idle arenas, and shows what it caches.
    """
    words, size, bounds, contract = refused.words, refused.size, refused.bounds, books.contract
    if _excused(books, refused):
        return False
    state = books.sure
    places = spec.places(state, size, bounds, books.frame)
    level = contract.completeness
    was_full = refused.gave_back and not contract.reclaims  # what has gone by now was in the way when the call began
    obliged = not books.live and not books.parked and not refused.starved and not was_full
    large = books.due // _SMALL if source.refused else max(books.served, books.due // _SMALL)
    if level == Completeness.BEST_EFFORT and obliged and size <= large:
        level = Completeness.EXACT  # then it must serve
    if spec.must_serve(state, size, bounds, level, books.frame):
        at = f"there is room at {places[0]:#x}" if places else "there is room"
        raise Breach(Property.P7, f"{words} was refused, and {at}", expected=places)
    if places:
        return False
    if contract.reclaims and books.parked and spec.places(books.drained(), size, bounds, books.frame):
        raise Breach(Property.P13, f"{words} was refused, and there is room when the cache is drained")
    need = _sure_arena(books, size, bounds, source.unit)
    if need and not refused.starved and not was_full and (contract.retries or not source.refused):
        ranges, idle = source.ranges, books.idle()
        if _can_map(books, source, ranges, need):
            raise Breach(Property.P7, f"{words} was refused, and an arena of {need} bytes could be mapped")
        left = {base: length for base, length in ranges.items() if base not in idle}
        least = size + -size % source.unit
        limited = books.due - spared(books, least=False) - sum(ranges.values()) < least  # idle arenas are in the way
        if limited and reclaims and contract.reclaims and _can_map(books, source, left, need):
            raise Breach(Property.P13, f"{words} was refused, and an arena could be mapped in place of idle ones")
    return True


def _excused(books: Books, refused: Refused) -> bool:
    """Tell whether a refusal needs no other reason: a request too large, the reserve, or the number of segments."""
    contract, size = books.contract, refused.size
    if contract.max_size is not None and refused.asked > contract.max_size:
        return True
    if contract.geometry.buddies and contract.largest_block is not None and size > contract.largest_block:
        return True
    kept = spared(books, least=False)
    if kept and sum(length for _, length in books.live.values()) + size > books.due - kept:
        return True
    if contract.max_segments is not None:
        exact = any(length == size for _, length in books.state.holes)
        return books.n_segments() + (0 if exact else 1) > contract.max_segments
    return False


def _sure_arena(books: Books, size: int, bounds: Bounds, granule: int) -> int:
    """Return bytes of an arena that is sure to admit a request; 0 where there is none."""
    contract = books.contract
    if books.frame != spec.BARE and bounds != ANYWHERE:
        return 0
    need = spec.sure_arena(
        size,
        bounds,
        quantum=books.quantum,
        granule=granule,
        geometry=contract.geometry,
        completeness=contract.completeness,
        beside=contract.arena_head + contract.arena_tail,
    )
    if need and bounds != ANYWHERE:  # it may want one with more room to spare than is needed at the worst
        need += size + bounds.align + -(size + bounds.align) % granule
    if books.arena:
        return books.arena if need <= books.arena else 0  # 0, too, if its size is not known yet
    if need and not contract.retries:  # then it may want whole arenas of the size that it was told
        unit = books.told or (1 if bounds == ANYWHERE else books.due)
        need += -need % unit
    if need and contract.completeness == Completeness.BEST_EFFORT and books.live:
        return max(2 * need, books.told)  # it may want a larger one than the request needs
    return need


def _can_map(books: Books, source: WatchedSource, ranges: dict[int, int], need: int) -> bool:
    """Tell whether limit and source leave room for an arena beside these."""
    room = books.due - spared(books, least=False) - sum(ranges.values())
    return room >= need and source.largest_gap(ranges) >= need


def require_figures(books: Books, error: ExhaustionError, size: int, mapped: int) -> None:
    """Hold the figures of a refusal to their recount."""
    holes = [length for _, length in books.state.holes]
    for name, said, true in (
        ("request", error.request, size),
        ("free", error.free, sum(holes)),
        ("largest_hole", error.largest_hole, max(holes, default=0)),
        ("mapped", error.mapped, mapped),
    ):
        lower = name == "largest_hole" and not books.contract.exact_stats and type(said) is int and said <= true
        if said != true and not lower:
            raise Breach(Property.P16, f"the refusal says {name}={said}, and it is {true}")


def require_explanation(
    books: Books, refused: Refused, error: ExhaustionError, source: WatchedSource, look: Callable[..., Any]
) -> None:
    """Hold the explanation of a refusal to the holes that there are, and each remedy to helping, and to being the smallest."""
    explanation = look("explain()", error.explain)
    told = sorted((verdict.base, verdict.size) for verdict in explanation.verdicts)
    if told != list(books.state.holes):
        raise Breach(Property.P16, f"the refusal tells of {len(told)} holes, and there are {len(books.state.holes)}")
    headroom = books.due - source.mapped
    enough = headroom >= refused.size + -refused.size % source.unit and books.contract.retries
    if isinstance(error, KvaLimitError) and enough:
        raise Breach(Property.P16, f"the refusal blames the limit, which leaves {headroom} bytes")
    for remedy in explanation.remedies:
        helps, less_helps = _tried(books, refused, source, remedy.what, remedy.value)
        if helps is False:
            raise Breach(Property.P16, f"the refusal advises to {remedy}, which does not help")
        if less_helps:
            raise Breach(Property.P16, f"the refusal advises to {remedy}, and a smaller change helps")


def require_fault(books: Books, address: int, error: BadFreeError) -> None:
    """Hold what is said of an address that was not freed to what it is: inside a buffer, freed already, or never handed out."""
    around = next(((base, size) for base, size in books.live.values() if base < address < base + size), None)
    true = FreeFault.INSIDE_BUFFER if around else FreeFault.NEVER_ALLOCATED
    if (address in books.left or address in books.gone.values()) and not around:
        true = FreeFault.FREED_TWICE
    said = (error.address, error.fault, error.inside)
    if around is None and any(base < address < base + size for base, size in books.parked.items()):
        true = error.fault if error.fault is not FreeFault.INSIDE_BUFFER else true  # the cache may have forgotten
    if said != (address, true, around):
        raise Breach(Property.P10, f"the refusal to free {address:#x} says {error}, and it is {true.value}")


def _tried(
    books: Books, refused: Refused, source: WatchedSource, what: Change, value: int
) -> tuple[bool | None, bool | None]:
    """Tell whether a remedy would help, and whether a smaller change of the same kind would; None where nobody can tell."""
    size, bounds = refused.size, refused.bounds
    if what is Change.SIZE:
        more = value + books.quantum
        return _would(books, source, value, bounds), more < size and _would(books, source, more, bounds)
    if what is Change.KVA_LIMIT:
        need = _sure_arena(books, size, bounds, source.unit)
        exact = books.contract.completeness == Completeness.EXACT and books.contract.retries
        if not need or bounds != ANYWHERE or not exact:
            return None, None
        room = min(value - source.mapped, source.largest_gap(source.ranges))
        return room >= need, value - source.unit - source.mapped >= need
    step = {Change.LO: 1, Change.HI: -1}.get(what, 0)
    helps = _would(books, source, size, attrs.evolve(bounds, **{what.value: value}))
    smaller = attrs.evolve(bounds, **{what.value: value + step})
    return helps, step != 0 and smaller != bounds and _would(books, source, size, smaller)


def _would(books: Books, source: WatchedSource, size: int, bounds: Bounds) -> bool | None:
    """Tell whether a request would be served now; None where that depends on an arena that may lie badly, or be overlooked."""
    size = books.footprint(size)
    if spec.places(books.state, size, bounds):
        return True
    if not spec.possible(size, bounds, books.quantum):
        return False
    need = _sure_arena(books, size, bounds, source.unit)
    if need and _can_map(books, source, source.ranges, need):
        return True if books.contract.completeness == Completeness.EXACT else None
    bare = size + -size % source.unit
    return None if _can_map(books, source, source.ranges, bare) else False
