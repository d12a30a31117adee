"""A5: FreeBSD counts who waits for pipelock, and a release wakes one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coalloc.kernel.pipelock import PIPELOCKS
from coalloc.patches.jobserver import run_jobserver
from coalloc.patches.patch import Figure, Patch, Predicted
from coalloc.scenarios.chart import Chart, ChartLine

__all__ = ["OFFERED"]

_BEFORE, _AFTER = PIPELOCKS["2004"], PIPELOCKS["2020"]
_MAKES: Final = (4, 8, 16, 32, 64, 104)


def _run(tell: Callable[[str], None]) -> Predicted:
    came: dict[str, list[tuple[float, float]]] = {rules.name: [] for rules in (_BEFORE, _AFTER)}
    latencies = []
    for makes in _MAKES:
        tell(f"{makes} makes")
        for rules in (_BEFORE, _AFTER):
            run = run_jobserver(rules, makes, makes // 4)
            came[rules.name].append((makes, run.wakeups))
            latencies.append(run.latency)
    before, after = (came[rules.name][-1][1] for rules in (_BEFORE, _AFTER))
    return Predicted(
        (
            Figure(f"wakeups a read, {_MAKES[-1]} makes, before", before),
            Figure(f"wakeups a read, {_MAKES[-1]} makes, after", after),
        ),
        (
            (
                f"A read takes {latencies[-2] / 1000:,.0f} us before and {latencies[-1] / 1000:,.0f} us after, with"
                f" {_MAKES[-1]} makes; with {_MAKES[0]} there is no difference."
            ),
            (
                "Who waits for pipelock still sleeps on the channel of those who wait for data; A6 shows what comes of"
                " that."
            ),
        ),
        (
            Chart(
                "A5: who is woken at each read",
                "makes that share a pipe",
                "wakeups a read",
                tuple(
                    ChartLine(rules.title, tuple((n, max(woken, 1e-3)) for n, woken in came[rules.name]))
                    for rules in (_BEFORE, _AFTER)
                ),
            ),
        ),
    )


OFFERED: Final = (
    Patch(
        "A5",
        "a release of pipelock wakes one waiter, not all",
        "FreeBSD, November 2020, D27273, f9fe7b28bc23",
        _BEFORE,
        _AFTER,
        "make -j: processes that read tokens from one pipe without blocking, on 104 CPUs",
        "no more thundering herd; no figure",
        _run,
        lacks="Tokens, the time of a job and the time between two tries are assumed.",
        rank=5,
    ),
)
