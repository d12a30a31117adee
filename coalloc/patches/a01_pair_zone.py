"""A1: FreeBSD lets both halves of a pipe and their mutex be one item of a zone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of
from coalloc.pipes.eras import KernelState
from coalloc.pipes.states import BEFORE_PAIRS, ERAS
from coalloc.scenarios.creation import Creation, run_creation
from coalloc.vm.costs import COSTS

__all__ = ["OFFERED"]

_BEFORE: Final = attrs.evolve(BEFORE_PAIRS, name="30 January 2004")
_AFTER: Final = ERAS["2004-01"]
_COSTS: Final = COSTS["measured"]


def _run(tell: Callable[[str], None]) -> Predicted:
    tell("create and close, one after the other")
    before, after = (_sequential(state) for state in (_BEFORE, _AFTER))
    mapped = before.allocations.mappings * _COSTS.prices["map_ops"].ns / before.time
    saved = before.time / before.pipes * 0.085
    return Predicted(
        (
            Figure("time to make and close", change_of(before.time, after.time), (-9, -8), "%", no_change=0),
            Figure("set-ups besides mappings, before", _set_ups(before), 4),
            Figure("set-ups besides mappings, after", _set_ups(after), 1),
        ),
        (
            (
                f"The model prices a pipe at {before.time / before.pipes:,.0f} ns, of which {mapped:.0%} is for mapping."
                f"  To save 8.5 % of it all, an item, a malloc and the making of a mutex have to cost {saved:,.0f} ns together."
            ),
        ),
    )


def _sequential(state: KernelState) -> Creation:
    return run_creation(state, processes=1, cpus=1, pipes=500)


def _set_ups(run: Creation) -> float:
    """Return zone items, mallocs and makings of a mutex for a pipe."""
    return (run.allocations.zone + run.allocations.malloc + run.allocations.mutex_init) / run.pipes


OFFERED: Final = (
    Patch(
        "A1",
        "both halves of a pipe and their mutex are one zone item",
        "FreeBSD, 1 February 2004, 4795b82c13",
        _BEFORE,
        _AFTER,
        "pipes made and closed one after the other, on one CPU",
        "8 to 9 % off the cost of sequential creation and close",
        _run,
        (
            Constant("zone item, or malloc", _COSTS.prices["cache_hits"].ns, "ns", _COSTS.words),
            Constant("map operation", _COSTS.prices["map_ops"].ns, "ns", _COSTS.words),
        ),
        lacks="The prices are of a machine of the 2020s and of mmap(2).  In 2004 a mapping in the kernel may have been cheaper"
        " beside an allocation, so that what the patch saves weighed more.  Making a mutex has no price of its own.",
        rank=1,
    ),
)
