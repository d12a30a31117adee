"""`sentence` and `price_moves`: which design wins on what, at what price, and how far a price must move to change that.

Both are worked out from frozen outcomes, and say nothing that the figures do not say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, permutations
from typing import Any, Final

import attrs

from coalloc.report.tables import LABELS, Row, differing_work, format_ratio, milliseconds
from coalloc.vm.costs import CostModel, count_of
from coalloc.workload.replay import Outcome

__all__ = ["PriceMove", "Swap", "label_of", "order", "price_moves", "price_rows", "sentence", "unmoved_by"]


@attrs.frozen
class Swap:
    """Two designs that change places when a price moves so far.

    Args:
        ns: The price at which both cost the same, in nanoseconds.
        cheaper: The design that is the cheaper one at today's price, and
        dearer: the other, which is the cheaper one beyond ``ns``.
    """

    ns: float
    cheaper: str
    dearer: str


@attrs.frozen
class PriceMove:
    """How far the price of one event may move, all others as they are, before the order of the designs changes.

    Args:
        event: The event, one of :data:`coalloc.vm.costs.EVENTS`.
        ns: Its price today.
        below: The first change of the order when the price falls; None if the order holds down to 0.
        above: The first change when it rises; None if the order always holds.
    """

    event: str
    ns: float
    below: Swap | None
    above: Swap | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return attrs.asdict(self)


def price_moves(outcomes: Sequence[Outcome], costs: CostModel) -> tuple[PriceMove, ...]:
    """Return how far the price of each event may move, for those that can change the order of the designs.

    Events that are part of others, and not shown in tables, are left out.

    Args:
        outcomes: What the designs did with one program.
        costs: The prices.

    Complexity:
        O(events * designs ** 2).
    """
    moves = []
    for event, price in costs.prices.items():
        swaps = list(_swaps(outcomes, costs, event, outcomes))
        if swaps and event in LABELS:
            falls = [swap for swap in swaps if swap.ns <= price.ns]
            rises = [swap for swap in swaps if swap.ns > price.ns]
            below, above = max(falls, key=_at, default=None), min(rises, key=_at, default=None)
            moves.append(PriceMove(event, price.ns, below, above))
    return tuple(moves)


def _at(swap: Swap) -> float:
    return swap.ns


def _swaps(all_of: Sequence[Outcome], costs: CostModel, event: str, cheaper: Sequence[Outcome]) -> Iterator[Swap]:
    """Yield where one of ``cheaper`` and any dearer design cost the same, if only the price of ``event`` moves."""
    price = costs.prices[event].ns
    for low, high in permutations(all_of, 2):
        gap = high.estimate(costs).ns - low.estimate(costs).ns
        more = count_of(event, low.map, low.work) - count_of(event, high.map, high.work)
        if low in cheaper and gap >= 0 and more and price + gap / more > 0:
            yield Swap(price + gap / more, low.design, high.design)


def unmoved_by(outcomes: Sequence[Outcome], costs: CostModel) -> tuple[str, ...]:
    """Return the events whose counts differ, and of which no price at all changes the order of the designs."""
    moved = {move.event for move in price_moves(outcomes, costs)}
    return tuple(
        event
        for event, price in costs.prices.items()
        if price.ns
        and event not in moved
        and len({count_of(event, outcome.map, outcome.work) for outcome in outcomes}) > 1
    )


def order(outcomes: Sequence[Outcome], costs: CostModel) -> str:
    """Return the designs by their estimated cost, the lowest first; those that cost the same have an equals sign."""
    ranked = sorted(outcomes, key=lambda outcome: outcome.estimate(costs).ns)
    text = ranked[0].design if ranked else ""
    for before, outcome in pairwise(ranked):
        equal = outcome.estimate(costs).ns == before.estimate(costs).ns
        text += f"{' =' if equal else ','} {outcome.design}"
    return text


def label_of(event: str) -> str:
    """Return what an event is called in tables."""
    return LABELS.get(event, event.replace("_", " "))


def price_rows(moves: Sequence[PriceMove]) -> list[Row]:
    """Return a row for each price: what it is today, and where a change of the order is nearest below and above.

    The first value is the price, the others are those of the changes; the ratios are to the price.
    """
    return [
        Row(
            label_of(move.event),
            (f"{move.ns:,.0f}" if move.ns else "not priced", _moved(move.below), _moved(move.above)),
            ("1.00", *(format_ratio(swap.ns if swap else None, move.ns) for swap in (move.below, move.above))),
        )
        for move in moves
    ]


def _moved(swap: Swap | None) -> str:
    return f"{swap.ns:,.0f}: {swap.dearer} before {swap.cheaper}" if swap is not None else "never"


# --- the sentence --------------------------------------------------------------------------------------------

_FIGURES: Final[dict[str, Callable[[Outcome], int]]] = {
    "map_ops": lambda outcome: outcome.map.map_ops,
    "peak_mapped": lambda outcome: outcome.map.peak_mapped,
    "peak_resident": lambda outcome: outcome.map.peak_resident,
}
"""What a design is weighed by beside its estimated cost: less is better."""


def sentence(outcomes: Sequence[Outcome], costs: CostModel) -> str:
    """Say in one sentence which design wins on what, and at what price; nothing for a single design.

    Args:
        outcomes: What the designs did with one program.
        costs: The prices of the estimate.
    """
    if len(outcomes) < 2:
        return ""
    if differing_work(outcomes):
        return "No design is said to win: they did different work."
    ns = {outcome.design: outcome.estimate(costs).ns for outcome in outcomes}
    least = min(ns.values())
    best = [outcome for outcome in outcomes if ns[outcome.design] == least]
    if len(best) == len(outcomes):
        return f"All designs have the same estimated cost, {milliseconds(least)} ms."
    if len(best) > 1:
        return f"The lowest estimated cost is that of {_listed(o.design for o in best)}: {milliseconds(least)} ms each."
    [winner] = best
    next_ns = min(cost for name, cost in ns.items() if name != winner.design)
    following = _listed(name for name, cost in ns.items() if cost == next_ns)
    parts = [f"{winner.design} has the lowest estimated cost, {milliseconds(least)} ms"]
    parts.append(f"before {following} with {milliseconds(next_ns)} ms")
    parts.append(f"{_price_of(winner, outcomes)}; {_how_sure(winner, outcomes, costs)}")
    return ", ".join(parts) + "."


def _price_of(winner: Outcome, outcomes: Sequence[Outcome]) -> str:
    """Say on what the winner is beaten, and by whom."""
    beaten = []
    for name, of in _FIGURES.items():
        fewest = min(map(of, outcomes))
        if of(winner) > fewest:
            whose = _listed(outcome.design for outcome in outcomes if of(outcome) == fewest)
            times = f"{format_ratio(of(winner), fewest)} times the {LABELS[name]} of {whose}"
            beaten.append(times if fewest else f"{of(winner):,} {LABELS[name]} where {whose} has none")
    if not beaten:
        return f"and no design has fewer {_listed((LABELS[name] for name in _FIGURES), 'or')}"
    return f"at the price of {_listed(beaten)}"


def _how_sure(winner: Outcome, outcomes: Sequence[Outcome], costs: CostModel) -> str:
    """Say which single price has to move least until another design has the lowest estimate."""
    moves = [
        (abs(math.log(swap.ns / price.ns)), swap.ns / price.ns, label_of(event), swap.dearer)
        for event, price in costs.prices.items()
        if price.ns
        for swap in _swaps(outcomes, costs, event, [winner])
    ]
    if not moves:
        return "no single price can change that"
    _, factor, what, other = min(moves)
    moved = f"{factor:,.2f} times" if factor >= 1 else f"1/{1 / factor:,.2f} of"
    return f"{other} would win if {what} cost {moved} their price"


def _listed(words: Iterator[str] | Sequence[str], last: str = "and") -> str:
    """Join words for people: a, b and c."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
