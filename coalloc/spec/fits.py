"""Which of the places that admit a request a fit takes: one where the fit decides, several where it leaves a choice."""

from __future__ import annotations

from coalloc.contract import ANYWHERE, Bounds, Fit, Tie
from coalloc.spec.places import lowest_in, places
from coalloc.spec.sizes import class_floor, size_class
from coalloc.spec.state import State

__all__ = ["choices"]


def choices(
    state: State,
    size: int,
    bounds: Bounds = ANYWHERE,
    *,
    fit: Fit | None,
    tie: Tie | None = None,
    cursor: int = 0,
    ages_known: bool = True,
) -> list[int]:
    """Return every address that a fit allows for a request, ascending.

    Args:
        state: What is free.
        size: Bytes, as rounded.
        bounds: Where the request may lie.
        fit: Which hole wins; it gives the request its lowest place.  None allows every place.
        tie: Which of several smallest holes BEST takes; None allows each.
        cursor: Where NEXT goes on.
        ages_known: Whether the births of the holes are those of the allocator that is judged.
    """
    if fit is None:
        return places(state, size, bounds)
    lowest = lowest_in(state, size, bounds)
    if not lowest:
        return []
    if fit is Fit.FIRST:
        return [lowest[min(lowest)]]
    if fit is Fit.NEXT:
        ahead = [hole for hole in lowest if hole[0] >= cursor]
        return [lowest[min(ahead or lowest)]]
    if fit is Fit.BEST:
        smallest = min(length for _, length in lowest)
        ties = [hole for hole in lowest if hole[1] == smallest]
        if tie is Tie.LOWEST:
            ties = ties[:1]
        elif tie is Tie.NEWEST and ages_known and len(ties) > 1:
            ties = [max(ties, key=state.births.__getitem__)]
        return [lowest[hole] for hole in ties]
    return _by_class(state, size, lowest, instant=fit is Fit.INSTANT, ages_known=ages_known)


def _by_class(
    state: State, size: int, lowest: dict[tuple[int, int], int], *, instant: bool, ages_known: bool
) -> list[int]:
    """Return what vmem's two fits allow.

    M_FIRSTFIT (``instant``) looks at the newest hole of each class whose members are all large enough, the lowest class first;
    where none of these does, and for M_BESTFIT, the newest hole that does in the lowest class that has one.
    """
    quantum, births = state.quantum, state.births
    if instant and not ages_known:
        return sorted(lowest.values())
    if instant:
        by_class: dict[int, list[tuple[int, int]]] = {}
        for hole in births:
            by_class.setdefault(size_class(hole[1] // quantum), []).append(hole)
        for group, members in sorted(by_class.items()):
            newest = max(members, key=births.__getitem__)
            if class_floor(group) * quantum >= size and newest in lowest:
                return [lowest[newest]]
    group = min(size_class(length // quantum) for _, length in lowest)
    allowed = [hole for hole in lowest if size_class(hole[1] // quantum) == group]
    if ages_known:
        allowed = [max(allowed, key=births.__getitem__)]
    return [lowest[hole] for hole in allowed]
