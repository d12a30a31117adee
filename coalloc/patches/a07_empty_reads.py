"""A7: FreeBSD looks whether a pipe is empty before a non-blocking read takes its lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coalloc.kernel.pipelock import PIPELOCKS
from coalloc.patches.jobserver import Jobserver, run_jobserver
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of

__all__ = ["OFFERED"]

_BEFORE, _AFTER = PIPELOCKS["2022"], PIPELOCKS["2022-08"]
_MAKES: Final = 104
_TOKENS: Final = 31
"""Fitted; see :func:`_fit`."""
_EMPTY: Final = 0.5


def _run(tell: Callable[[str], None]) -> Predicted:
    tell(f"{_MAKES} makes, {_TOKENS} tokens")
    before, after = (run_jobserver(rules, _MAKES, _TOKENS) for rules in (_BEFORE, _AFTER))
    return Predicted(
        (
            Figure("acquisitions for a read", change_of(before.acquisitions, after.acquisitions), None, "%"),
            Figure("reads of nothing, before, %", before.empty * 100, (50, 100)),
            Figure("time of a read", change_of(before.latency, after.latency), None, "%"),
        ),
        (
            (
                f"{before.acquisitions:.2f} acquisitions a read before, {after.acquisitions:.2f} after.  A read that finds a"
                " token takes the mutex twice, since it drops it to copy; one that waits for pipelock takes it once more."
            ),
        ),
    )


def _fit() -> tuple[Constant, ...]:
    """Find the number of tokens with which half of the reads find nothing, before the patch."""
    low, high = 1, _MAKES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _before(middle).empty >= _EMPTY else (low, middle)
    return (_tokens(low),)


def _before(tokens: int) -> Jobserver:
    return run_jobserver(_BEFORE, _MAKES, tokens)


def _tokens(n: int) -> Constant:
    return Constant("tokens", n, "", "so that half of the reads find nothing before the patch", fitted=True)


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
        (_tokens(_TOKENS),),
        _fit,
        "The first version of the patch also returned 0 at the end of the file, before it looked at the data.  How long a job"
        " takes is assumed.",
        rank=7,
    ),
)
