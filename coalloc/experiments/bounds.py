"""`optimum`: how little address space suffices for buffers with known lifetimes, as a bound from below and one from above.

The bound from above is a placement: that of a greedy packing, of omnimalloc (an extra: branch and bound), or of ortools (an
extra: rectangles that do not overlap).  Every placement is checked by :func:`~coalloc.experiments.packing.misplaced`, and one
that is not valid counts for nothing.  The bound from below is the most bytes that live at once, or what a solver says to have
proved.  Solvers have a limit in seconds, so where the bounds do not meet, they depend on the machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import attrs

from coalloc._imports import needs_extra
from coalloc.errors import InvalidRequestError
from coalloc.experiments.packing import Life, greedy, height, lower_bound, misplaced

__all__ = ["SOLVERS", "Optimum", "Try", "optimum"]

_MOST_RECTANGLES: Final = 3000
"""So many lives are given to ortools at most: its model needs memory for pairs of them."""
_MOST_LIVES: Final = 200_000
"""So many lives are given to omnimalloc at most."""


@attrs.frozen
class Try:
    """What one solver found.

    Args:
        solver: Its name.
        height: The address space of its placement in bytes; None if it gave no valid one.
        lower: What it says to be a lower bound; 0 if it says nothing.
        note: Why there is no placement; empty where there is one.
    """

    solver: str
    height: int | None
    lower: int = 0
    note: str = ""


@attrs.frozen
class Optimum:
    """Bounds on the least address space.

    Args:
        most_live: The most bytes that live at once.
        lower: The bound from below, >= ``most_live``.
        upper: The bound from above: the height of the lowest placement.
        bases: That placement, a base for each life.
        by: Which solver made it.
        lower_by: Which solver says the bound from below; empty where it is ``most_live``.
        tries: What each solver found, in the order in which they ran.
    """

    most_live: int
    lower: int
    upper: int
    bases: tuple[int, ...] = attrs.field(repr=False)
    by: str
    lower_by: str
    tries: tuple[Try, ...]

    @property
    def is_proven(self) -> bool:
        """Whether the two bounds meet, so that no placement needs less."""
        return self.lower == self.upper


_Placement = tuple[Sequence[int], int]
"""The bases that a solver gives, and its lower bound."""


def _by_greedy(lives: Sequence[Life], _best: Sequence[int], _seconds: float) -> _Placement:
    return greedy(lives), 0


def _by_omnimalloc(lives: Sequence[Life], _best: Sequence[int], seconds: float) -> _Placement:
    with needs_extra("optimum"):
        from omnimalloc import Allocation
        from omnimalloc.allocators.supermalloc import SupermallocAllocator
    if len(lives) > _MOST_LIVES:
        raise InvalidRequestError("lives", len(lives), f"are more than {_MOST_LIVES:,}")
    asked = tuple(
        Allocation(id=number, size=life.size, start=life.begin, end=life.end) for number, life in enumerate(lives)
    )
    result = SupermallocAllocator(timeout=seconds).solve(asked)
    offsets = {allocation.id: allocation.offset for allocation in result.allocations}
    bases = [-1 if (offset := offsets.get(number)) is None else offset for number in range(len(lives))]
    return bases, result.peak if result.proved_optimal else result.lower_bound


def _by_ortools(lives: Sequence[Life], best: Sequence[int], seconds: float) -> _Placement:
    with needs_extra("optimum"):
        from ortools.sat.python import cp_model
    if len(lives) > _MOST_RECTANGLES:
        raise InvalidRequestError("lives", len(lives), f"are more than {_MOST_RECTANGLES:,}")
    unit = math.gcd(*(life.size for life in lives))
    proven = target = asked = lower_bound(lives)
    highest = height(lives, best)
    end = time.monotonic() + seconds
    while asked < highest and (left := end - time.monotonic()) > seconds / 64:
        # Half of the time goes into the lower bound, since a placement there is the best; then the gap is halved each time.
        status, found = _fits(lives, target, unit, left / 2)
        if found is not None:
            best, highest = found, height(lives, found)
        else:
            asked = target + unit
            if status == cp_model.INFEASIBLE:
                proven = asked
        target = asked + (highest - asked) // (2 * unit) * unit
    return best, proven


_WORKERS: Final = 8
"""Workers of ortools, whatever the number of cores: each searches in another way, and one may be lucky."""


def _fits(lives: Sequence[Life], target: int, unit: int, seconds: float) -> tuple[object, list[int] | None]:
    """Look for a placement of at most so many bytes; return the status, and the bases if there is one."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    bases, times, addresses = [], [], []
    for number, (begin, end, size) in enumerate(lives):
        bases.append(model.new_int_var(0, (target - size) // unit, f"base {number}"))
        times.append(model.new_fixed_size_interval_var(begin, end - begin, f"time {number}"))
        addresses.append(model.new_fixed_size_interval_var(bases[-1], size // unit, f"addresses {number}"))
    model.add_no_overlap_2d(times, addresses)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = _WORKERS
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return status, None
    return status, [solver.value(base) * unit for base in bases]


SOLVERS: Final[Mapping[str, tuple[str, Callable[[Sequence[Life], Sequence[int], float], _Placement]]]] = {
    "greedy": ("", _by_greedy),
    "omnimalloc": ("omnimalloc", _by_omnimalloc),
    "ortools": ("ortools", _by_ortools),
}
"""The solvers by name, in the order in which they run: the package that each needs, and what it does."""


def optimum(
    lives: Sequence[Life],
    *,
    seconds: float = 10.0,
    solvers: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Optimum:
    """Find bounds on the least address space for lives, until they meet or every solver has run.

    Args:
        lives: The lives, at least one.
        seconds: The most seconds for each solver, > 0; greedy takes what it takes.
        solvers: Names of ``SOLVERS``; None takes those whose package is installed.  ``greedy`` always runs first.
        progress: Called with the name of each solver before it runs.

    Raises:
        InvalidRequestError: For a solver that is not known, or an argument outside its range.
        MissingExtraError: If a solver is named whose package is not installed.

    >>> optimum([Life(0, 2, 5), Life(1, 3, 7), Life(2, 4, 5)], solvers=[]).upper
    12
    """
    if not lives:
        raise InvalidRequestError("lives", 0, "at least one is needed")
    if not 0 < seconds < 1e6:
        raise InvalidRequestError("seconds", seconds, "must be a number > 0")
    if solvers is None:
        solvers = [name for name, (package, _) in SOLVERS.items() if not package or find_spec(package) is not None]
    for name in solvers:
        if name not in SOLVERS:
            raise InvalidRequestError("solvers", name, f"is no solver; there are {', '.join(SOLVERS)}")
    most_live = lower = lower_bound(lives)
    by = lower_by = ""
    bases: Sequence[int] = ()
    upper = 0
    tries: list[Try] = []
    for name in dict.fromkeys(["greedy", *(name for name in SOLVERS if name in solvers)]):
        if by and lower == upper:
            break
        if progress is not None:
            progress(name)
        try:
            found, says = SOLVERS[name][1](lives, bases, seconds)
        except (InvalidRequestError, ValueError, RuntimeError, MemoryError) as error:
            tries.append(Try(name, None, note=str(error) or "out of memory"))
            continue
        if misplaced(lives, found):
            tries.append(Try(name, None, says, "its placement is not valid"))
            continue
        tries.append(Try(name, height(lives, found), says))
        if not by or height(lives, found) < upper:
            by, bases, upper = name, found, height(lives, found)
        if lower < says <= upper:
            lower, lower_by = says, name
    return Optimum(most_live, lower, upper, tuple(bases), by, lower_by, tuple(tries))
