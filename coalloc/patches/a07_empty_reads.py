"""A7: FreeBSD looks whether a pipe is empty before a non-blocking read takes its lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coalloc.kernel.pipelock import PIPELOCKS
from coalloc.patches.jobserver import ASSUMED, JOBS_NS, run_jobserver
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of

__all__ = ["OFFERED"]

_BEFORE, _AFTER = PIPELOCKS["2022"], PIPELOCKS["2022-08"]
_MAKES: Final = 104
_TOKENS: Final = {20_000: 31, 200_000: 51, 5_000_000: 51}
"""By the length of a job; fitted, see :func:`_fit`."""
_EMPTY: Final = 0.5


def _run(tell: Callable[[str], None]) -> Predicted:
    figures, findings = [], []
    for job_ns in JOBS_NS:
        job = f"jobs of {job_ns // 1000:,} us"
        tell(job)
        old, new = (run_jobserver(rules, _MAKES, _TOKENS[job_ns], job_ns=job_ns) for rules in (_BEFORE, _AFTER))
        figures += [
            Figure(f"{job}: acquisitions", change_of(old.acquisitions, new.acquisitions), None, "%", no_change=0),
            Figure(f"{job}: time of a read", change_of(old.latency, new.latency), None, "%", no_change=0),
        ]
        findings.append(
            f"With {job} {old.empty:.0%} of the reads find nothing before, as fitted; a read takes the mutex"
            f" {old.acquisitions:.2f} times before and {new.acquisitions:.2f} times after."
        )
    return Predicted(tuple(figures), tuple(findings))


def _fit() -> tuple[Constant, ...]:
    """Find the numbers of tokens with which half of the reads find nothing, before the patch."""
    found = []
    for job_ns in JOBS_NS:
        low, high = 1, _MAKES
        while high - low > 1:
            middle = (low + high) // 2
            half = run_jobserver(_BEFORE, _MAKES, middle, job_ns=job_ns, reads=2000).empty >= _EMPTY
            low, high = (middle, high) if half else (low, middle)
        found.append(_tokens(job_ns, low))
    return tuple(found)


def _tokens(job_ns: int, n: int) -> Constant:
    source = "half of the reads empty"
    return Constant(f"tokens, jobs of {job_ns // 1000:,} us", n, "", source, fitted=True)


OFFERED: Final = (
    Patch(
        "A7",
        "a non-blocking read of an empty pipe takes no lock",
        "FreeBSD, 17 August 2022, 9ac6eda6c6a3",
        _BEFORE,
        _AFTER,
        f"{_MAKES} makes that read tokens from one pipe without blocking, on 104 CPUs",
        "over half of the reads of make -j 104 find an empty pipe; no seconds",
        _run,
        (*(_tokens(job_ns, n) for job_ns, n in _TOKENS.items()), *ASSUMED),
        _fit,
        "How long the jobs of a real build take, which decides what the locks cost.",
        rank=7,
    ),
)
