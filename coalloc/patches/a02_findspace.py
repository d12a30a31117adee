"""A2: FreeBSD finds free space in a map by a tree, where it walked a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.patches.patch import Figure, Patch, Predicted
from coalloc.pipes.design import PER_PIPE
from coalloc.pipes.states import ERAS
from coalloc.scenarios.chart import Chart, ChartLine
from coalloc.scenarios.scalability import pipe_curves

__all__ = ["OFFERED"]

_BEFORE: Final = attrs.evolve(ERAS["2004-01"], name="vm_map.c 1.356", findspace="linear")
_AFTER: Final = attrs.evolve(ERAS["2004-01"], name="vm_map.c 1.357", findspace="tree")
_PIPES: Final = 2048


def _run(tell: Callable[[str], None]) -> Predicted:
    tell(f"{_PIPES:,} pipes between as many holes")
    curves = pipe_curves(_PIPES, eras=(_BEFORE, _AFTER), designs=(PER_PIPE,))
    before, after = (curve for curve in curves if curve.load == "between holes")
    return Predicted(
        (
            Figure("exponent of the work, before", before.exponent, 1),
            Figure("exponent of the work, after", after.exponent, 0, no_change=1),
        ),
        (
            f"Work for the last pipe: {before.work[-1]:,} before, {after.work[-1]:,} after.",
            "O(n) and O(log n) stand as exponents 1 and 0; over so few pipes log n looks like a small power.",
        ),
        (
            Chart(
                "A2: work of the n-th pipe",
                "pipes",
                "calls, operations and entries looked at",
                tuple(ChartLine(each.era, each.means) for each in (before, after)),
            ),
        ),
    )


OFFERED: Final = (
    Patch(
        "A2",
        "findspace searches a tree that knows the largest gap below each entry",
        "FreeBSD, 13 August 2004, vm_map.c 1.357",
        _BEFORE,
        _AFTER,
        f"{_PIPES:,} pipes, each made while as many holes that are too small lie in the map",
        "O(log n) in place of O(n); no figure",
        _run,
        lacks="Entries are counted that a search looks at, not what it costs to keep the tree.",
        rank=2,
    ),
)
