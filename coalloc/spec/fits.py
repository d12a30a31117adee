"""Which of the places that admit a request a fit takes: one where the fit decides, several where it leaves a choice."""

from __future__ import annotations

from coalloc.contract import ANYWHERE, Bounds, End, Fit, Tie
from coalloc.spec.places import BARE, Frame, admissible, place_in, places
from coalloc.spec.quanta import lowest
from coalloc.spec.sizes import class_floor, size_class
from coalloc.spec.state import State

__all__ = ["choices", "mirrored"]

_OTHER: dict[Fit, Fit] = {Fit.FIRST: Fit.LAST, Fit.LAST: Fit.FIRST}


def mirrored(fit: Fit | None, end: End) -> tuple[Fit | None, End]:
    """Return fit and end seen from the other end of the address space: the rule for the large ones of two-ended placement."""
    other = _OTHER.get(fit, fit) if fit is not None else None
    return other, End.LOW if end is End.HIGH else End.HIGH


def choices(
    state: State,
    size: int,
    bounds: Bounds = ANYWHERE,
    *,
    fit: Fit | None,
    tie: Tie | None = None,
    cursor: int = 0,
    ages_known: bool = True,
    end: End = End.LOW,
    frame: Frame = BARE,
) -> list[int]:
    """Return every address at which a fit allows a request to begin, ascending.

    Args:
        state: What is free.
        size: Bytes that the request occupies.
        bounds: Where the buffer may lie.
        fit: Which hole wins.  None allows every place.
        tie: Which of several smallest holes BEST takes, or largest WORST; None allows each.
        cursor: Where NEXT goes on.
        ages_known: Whether the births of the holes are those of the allocator that is judged.
        end: The end of the hole from which the request is carved.
        frame: What the request occupies beside its buffer.
    """
    if fit is None:
        return places(state, size, bounds, frame)
    if fit is Fit.FIRST and end is End.LOW:  # the lowest place of the lowest hole is the lowest of all
        for arena in state.arenas:
            where = admissible(state, arena, size, bounds, frame)
            if where:
                return [arena.base + lowest(where) * state.quantum]
        return []
    found = place_in(state, size, bounds, frame, end)
    if not found:
        return []
    if fit is Fit.FIRST:
        return [found[min(found)]]
    if fit is Fit.LAST:
        return [found[max(found)]]
    if fit is Fit.NEXT:
        ahead = [hole for hole in found if hole[0] >= cursor]
        return [found[min(ahead or found)]]
    if fit is Fit.BEST or fit is Fit.WORST:
        pick = min if fit is Fit.BEST else max
        length = pick(length for _, length in found)
        ties = [hole for hole in found if hole[1] == length]
        if tie is Tie.LOWEST:
            ties = ties[:1]
        elif tie is Tie.HIGHEST:
            ties = ties[-1:]
        elif tie is Tie.NEWEST and ages_known and len(ties) > 1:
            ties = [max(ties, key=state.births.__getitem__)]
        return [found[hole] for hole in ties]
    return _by_class(state, size, found, instant=fit is Fit.INSTANT, ages_known=ages_known)


def _by_class(
    state: State, size: int, found: dict[tuple[int, int], int], *, instant: bool, ages_known: bool
) -> list[int]:
    """Return what vmem's two fits allow.

    M_FIRSTFIT (``instant``) looks at the newest hole of each class whose members are all large enough, the lowest class first;
    where none of these does, and for M_BESTFIT, the newest hole that does in the lowest class that has one.
    """
    quantum, births = state.quantum, state.births
    if instant and not ages_known:
        return sorted(found.values())
    if instant:
        by_class: dict[int, list[tuple[int, int]]] = {}
        for hole in births:
            by_class.setdefault(size_class(hole[1] // quantum), []).append(hole)
        for group, members in sorted(by_class.items()):
            newest = max(members, key=births.__getitem__)
            if class_floor(group) * quantum >= size and newest in found:
                return [found[newest]]
    group = min(size_class(length // quantum) for _, length in found)
    allowed = [hole for hole in found if size_class(hole[1] // quantum) == group]
    if ages_known:
        allowed = [max(allowed, key=births.__getitem__)]
    return [found[hole] for hole in allowed]
