"""`regret`: what a design needs against the least that anybody could need who knows every lifetime beforehand.

A design is replayed with a recorder in front of its space, which notes every buffer that is handed out, with its life and its
addresses.  The most bytes that live at once, and the best placement of these lives, are what the design is held against.  Sizes
are those that were asked for, so that rounding counts as the design's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from coalloc.experiments.bounds import Optimum, optimum
from coalloc.experiments.packing import Life
from coalloc.experiments.recorder import seen_by
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.units import is_power_of_two
from coalloc.workload.program import Program
from coalloc.workload.replay import Outcome, replay

__all__ = ["Regret", "regret", "robson_bound"]


@attrs.frozen
class Regret:
    """What one design needed, and the least that its load needs.

    Args:
        outcome: The replay.
        span: The end of the highest buffer that was ever live, in bytes from the start of the kernel map.
        lives: How many buffers lived.
        sizes: The sizes of the requests in bytes, each once, in order.
        best: The bounds for these lives; None if there were none.
    """

    outcome: Outcome
    span: int
    lives: int
    sizes: tuple[int, ...]
    best: Optimum | None

    @property
    def refused(self) -> int:
        """Pipes, requests and writes that were refused: their buffers are not among the lives."""
        outcome = self.outcome
        return outcome.pipes.pipes_refused + outcome.allocs_refused + outcome.waits.no_buffer

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data: bytes, and ratios to the most bytes live and to the lowest placement."""
        best = self.best
        mapped = self.outcome.map.peak_mapped
        return {
            "design": self.outcome.design,
            "buffers": self.lives,
            "refused": self.refused,
            "peak_mapped": mapped,
            "addresses_used": self.span,
            "most_live": best and best.most_live,
            "least_lower": best and best.lower,
            "least_upper": best and best.upper,
            "least_by": best and best.by,
            "lower_bound_by": best and (best.lower_by or "most bytes live"),
            "proven": best and best.is_proven,
            "tries": best and [attrs.asdict(tried) for tried in best.tries],
            "mapped_to_most_live": best and mapped / best.most_live,
            "addresses_to_most_live": best and self.span / best.most_live,
            "addresses_to_least": best and self.span / best.upper,
        }


def regret(
    program: Program,
    designs: Sequence[Design],
    *,
    era: KernelState,
    limit: int,
    seconds: float = 10.0,
    solvers: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Regret]:
    """Hold what each design needs against the least for the buffers that it was asked for.

    Args:
        program: The program.
        designs: The designs.
        era: Whose pipe policy.
        limit: maxpipekva in bytes.
        seconds: As for :func:`~coalloc.experiments.bounds.optimum`.
        solvers: Likewise.
        progress: Called with what is done next, in words.

    Returns:
        One for each design.  Designs that were asked for the same buffers share their bounds.

    Raises:
        InvalidRequestError: As :func:`~coalloc.workload.replay.replay` and :func:`~coalloc.experiments.bounds.optimum`.
    """
    bounds: dict[tuple[Life, ...], Optimum] = {}
    regrets = []
    for design in designs:
        if progress is not None:
            progress(f"replaying {design.name}")
        recorded, recorder = seen_by(design)
        outcome = replay(program, recorded, era=era, limit=limit)
        lives = recorder().done()
        if lives and lives not in bounds:
            bounds[lives] = optimum(lives, seconds=seconds, solvers=solvers, progress=progress)
        sizes = tuple(sorted({life.size for life in lives}))
        regrets.append(Regret(outcome, recorder().span, len(lives), sizes, bounds.get(lives)))
    return regrets


def robson_bound(most_live: int, sizes: Sequence[int]) -> int | None:
    """Return what first fit needs at worst, in bytes; None unless all requests are the smallest times a power of two.

    Args:
        most_live: The most bytes that live at once.
        sizes: The sizes of the requests, in order, at least one.

    Source:
        Robson, JACM 1974: M (1 + log2(n) / 2) - n + 1 units, for M live units and requests of up to n units.

    >>> robson_bound(1024 * 4096, (4096, 32 * 4096)), robson_bound(8192, (4096, 3 * 4096))
    (14553088, None)
    """
    smallest = sizes[0]
    if not all(size % smallest == 0 and is_power_of_two(size // smallest) for size in sizes):
        return None
    n, units = sizes[-1] // smallest, -(-most_live // smallest)
    return (units + units * (n.bit_length() - 1) // 2 - n + 1) * smallest
