"""What may be refused: which holes may be overlooked, which arena is sure to admit a request, which rule kills a hole."""

from __future__ import annotations

import attrs

from coalloc.contract import ANYWHERE, Bounds, Completeness, Geometry
from coalloc.errors import Rule
from coalloc.spec.places import BARE, Frame, admissible, lowest_in, possible
from coalloc.spec.sizes import round_to, sure_size
from coalloc.spec.state import State
from coalloc.units import MAX_ADDRESS

__all__ = ["must_serve", "rule_against", "sure_arena"]


def must_serve(state: State, size: int, bounds: Bounds, completeness: Completeness, frame: Frame = BARE) -> bool:
    """Tell whether the holes that there are oblige an allocator to serve a request of ``size`` bytes, all that it occupies.

    EXACT may overlook none.  The other levels may overlook holes that are too small for their search, and any hole under
    constraints.
    """
    if completeness == Completeness.BEST_EFFORT or (completeness != Completeness.EXACT and bounds != ANYWHERE):
        return False
    sure = sure_size(size, state.quantum, completeness)
    return any(admissible(state, arena, sure, bounds, frame) for arena in state.arenas)


def sure_arena(
    size: int,
    bounds: Bounds,
    *,
    quantum: int,
    granule: int,
    geometry: Geometry,
    completeness: Completeness,
    beside: int = 0,
) -> int:
    """Return bytes of an arena that is sure to admit a request, wherever it comes to lie; 0 where there is none.

    Args:
        size: Bytes that the request occupies.
        bounds: Where its buffer may lie.
        quantum: Bytes of a quantum.
        granule: Arenas are multiples of it.
        geometry: Which free ranges are holes.
        completeness: The level of the search, which may overlook an arena once it is mapped, if that is too small for it.
        beside: Bytes of each arena that are never handed out.
    """
    if completeness != Completeness.BEST_EFFORT:
        size = sure_size(size, quantum, completeness)
    if bounds.lo or bounds.hi != MAX_ADDRESS:
        return 0
    step = max(bounds.align, bounds.nocross)
    if step > quantum:
        if geometry.buddies or not possible(size, bounds, quantum):
            return 0
        size += 2 * step
    if geometry is Geometry.BUDDY_ABSOLUTE and size > granule:
        size += size - quantum  # a block may begin that far behind the base
    if quantum > granule:
        size += quantum - granule  # the first whole quantum may
    return round_to(size + beside, granule)


def rule_against(state: State, hole: tuple[int, int], size: int, bounds: Bounds) -> Rule:
    """Return the rule that keeps a request out of a hole (base, size) that does not admit it.

    The rules are added in the order size, lo, hi, align with phase, nocross; the first with which no place is left is named.
    """
    trial = ANYWHERE
    for rule, more in (
        (Rule.SIZE, {}),
        (Rule.LO, {"lo": bounds.lo}),
        (Rule.HI, {"hi": bounds.hi}),
        (Rule.ALIGN, {"align": bounds.align, "phase": bounds.phase}),
    ):
        trial = attrs.evolve(trial, **more)
        if hole not in lowest_in(state, size, trial):
            return rule
    return Rule.NOCROSS
