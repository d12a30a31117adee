"""A5: FreeBSD counts who waits for pipelock, and a release wakes one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coalloc.kernel.pipelock import PIPELOCKS
from coalloc.patches.jobserver import ASSUMED, JOBS_NS, run_jobserver
from coalloc.patches.patch import Figure, Patch, Predicted
from coalloc.scenarios.chart import Chart, ChartLine

__all__ = ["OFFERED"]

_BEFORE, _AFTER = PIPELOCKS["2004"], PIPELOCKS["2020"]
_MOST: Final = 104
_MAKES: Final = (4, 8, 16, 32, 64, _MOST)


def _run(tell: Callable[[str], None]) -> Predicted:
    came: dict[str, list[tuple[float, float]]] = {rules.name: [] for rules in (_BEFORE, _AFTER)}
    for makes in _MAKES:
        tell(f"{makes} makes")
        for rules in (_BEFORE, _AFTER):
            came[rules.name].append((makes, run_jobserver(rules, makes, makes // 4).wakeups))
    figures, findings = [], []
    for job_ns in JOBS_NS:
        job = f"jobs of {job_ns // 1000:,} us"
        tell(job)
        old, new = (run_jobserver(rules, _MOST, _MOST // 4, job_ns=job_ns) for rules in (_BEFORE, _AFTER))
        figures += [Figure(f"{job}: woken, before", old.wakeups), Figure(f"{job}: woken, after", new.wakeups)]
        findings.append(f"With {job} a read takes {old.latency:,.0f} ns before and {new.latency:,.0f} ns after.")
    lines = tuple(ChartLine(rules.title, _above_zero(came[rules.name])) for rules in (_BEFORE, _AFTER))
    return Predicted(
        tuple(figures),
        (
            *findings,
            "Who waits for pipelock still sleeps on the channel of those who wait for data; A6 shows what comes of that.",
        ),
        (Chart("A5: who is woken, jobs of 20 us", "makes that share a pipe", "woken for each read", lines),),
    )


def _above_zero(points: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    return tuple((makes, max(woken, 1e-3)) for makes, woken in points)


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
        ASSUMED,
        lacks="How long the jobs of a real build take, which decides whether there is a herd.",
        rank=5,
    ),
)
