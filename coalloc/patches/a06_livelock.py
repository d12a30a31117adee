"""A6: FreeBSD gives those who wait for pipelock a channel of their own, which ends a livelock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from coalloc.kernel.pipelock import PIPELOCKS, PipelockRules
from coalloc.patches.patch import Figure, Patch, Predicted
from coalloc.scenarios.window_models import pipelock_machine
from coalloc.sched.cycles import CycleSearch, find_cycles, search_cycles
from coalloc.sched.pct_driver import PctDriver

__all__ = ["OFFERED"]

_BEFORE, _AFTER = PIPELOCKS["2020"], PIPELOCKS["2022"]
_READERS: Final = (3, 4, 8)
_SCHEDULES: Final = 60


def _run(tell: Callable[[str], None]) -> Predicted:
    figures, findings = [], []
    tell("every state of 2 readers and a writer")
    before, after = (find_cycles(partial(pipelock_machine, rules)) for rules in (_BEFORE, _AFTER))
    figures += [
        Figure("livelock, 2 readers, before", bool(before.cycle), 1),
        Figure("livelock, 2 readers, after", bool(after.cycle), 0, no_change=1),
    ]
    assert before.cycle is not None
    findings.append(f"Round and round, after {before.cycle.prefix} steps: {'; '.join(map(str, before.cycle.turns))}.")
    findings.append(f"All {before.schedules:,} states before, and all {after.schedules:,} after, were visited.")
    findings.append(f"More than 2 readers: {_SCHEDULES} schedules by priorities each.")
    for readers in _READERS:
        tell(f"{readers} readers")
        came = [_by_priorities(rules, readers) for rules in (_BEFORE, _AFTER)]
        for name, found, published in zip(("before", "after"), came, (1, 0), strict=True):
            figures.append(Figure(f"livelock, {readers} readers, {name}", bool(found.cycle), published))
    return Predicted(tuple(figures), tuple(findings))


def _by_priorities(rules: PipelockRules, readers: int) -> CycleSearch:
    drivers = (PctDriver(seed, changes=3, steps=60) for seed in range(_SCHEDULES))
    return search_cycles(lambda: pipelock_machine(rules, readers), drivers, max_steps=2000)


OFFERED: Final = (
    Patch(
        "A6",
        "pipelock has a channel of its own",
        "FreeBSD, 2022, D35415, PR 264441, e8955bd643ee",
        _BEFORE,
        _AFTER,
        "readers and a writer of one byte; every state, or schedules by priorities",
        "a livelock of readers, and a writer that starves; gone after",
        _run,
        rank=6,
    ),
)
