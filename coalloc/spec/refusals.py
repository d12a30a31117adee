"""What may be refused: which holes may be overlooked, which arena is sure to admit a request, which rule kills a hole."""

from __future__ import annotations

import attrs

from coalloc.contract import ANYWHERE, Bounds, Completeness, Geometry
from coalloc.errors import Rule
from coalloc.spec.places import lowest_in, possible
from coalloc.spec.sizes import EXACT_CLASSES, round_to, size_class
from coalloc.spec.state import State
from coalloc.units import MAX_ADDRESS

__all__ = ["must_serve", "rule_against", "sure_arena"]


def must_serve(state: State, size: int, bounds: Bounds, completeness: Completeness) -> bool:
    """Tell whether the holes that there are oblige an allocator to serve a request; ``size`` is rounded.

    EXACT may overlook none; CLASS may overlook those of the request's own size class, and any hole under constraints.
    """
    lowest = lowest_in(state, size, bounds)
    if completeness is Completeness.EXACT or not lowest:
        return bool(lowest)
    own = size_class(size // state.quantum)
    return bounds == ANYWHERE and any(size_class(length // state.quantum) > own for _, length in lowest)


def sure_arena(
    size: int, bounds: Bounds, *, quantum: int, granule: int, geometry: Geometry, completeness: Completeness
) -> int:
    """Return bytes of an arena that is sure to admit a request, wherever it comes to lie; 0 where there is none.

    With Completeness.CLASS an arena of the request's own class may be overlooked once it is mapped, unless the class has one
    size only.
    """
    if completeness is Completeness.CLASS and size // quantum > EXACT_CLASSES:
        return 0
    if bounds.lo or bounds.hi != MAX_ADDRESS:
        return 0
    step = max(bounds.align, bounds.nocross)
    if step > quantum:
        if geometry is Geometry.BUDDY or not possible(size, bounds, quantum):
            return 0
        size += 2 * step
    return round_to(size, granule)


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
