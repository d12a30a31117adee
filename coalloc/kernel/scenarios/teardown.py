"""A mass close: very many pipes are made, each is written to once, and all are closed; what that costs the map, in counts.

DragonFly's developers found in August 2017 that closing 900,000 pipes took up to an hour: each buffer is unmapped on its own,
and each unmapping of a touched buffer interrupts every other CPU.  A cache of mappings helps with pipes that come and go, not
with these: it keeps a few, and the rest is torn down.  Arenas are given back whole.

The map sees buffers and no pipes, and with room for all every pipe has the same.  So one pipe is made to learn their sizes, and
then the buffers are asked for directly: the same calls in the same order, in two thirds of the time.

Source: facts/kernel.md section 6; B30, B50.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.designs import Design
from coalloc.pipes.eras import ERAS, PIPE_SIZE, Era
from coalloc.pipes.system import PipeSystem
from coalloc.vm.costs import COSTS, CostModel
from coalloc.vm.kernelmap import MapCounters

__all__ = ["TEARDOWN_DESIGNS", "Teardown", "run_teardown"]

TEARDOWN_DESIGNS: Final = "per-pipe,dragonfly,coalescing"
"""The designs that are put side by side unless others are named."""
_TELL: Final = 4096


@attrs.frozen
class Teardown:
    """What a mass close took, by design.

    Args:
        design: Its name.
        era: Whose pipe policy held.
        pipes: How many were closed.
        made: What the map counted until all were there and written to.
        closed: What it counted from then until all were closed.
        kept: Bytes that stay mapped.
        estimate_ns: What the close costs, estimated from counts and prices.
    """

    design: str
    era: str
    pipes: int
    made: MapCounters
    closed: MapCounters
    kept: int
    estimate_ns: float


def run_teardown(
    pipes: int,
    design: Design,
    *,
    era: Era = ERAS["2004-01"],
    cpus: int = 2,
    costs: CostModel = COSTS["measured"],
    progress: Callable[[int], None] | None = None,
) -> Teardown:
    """Make so many pipes, write a byte to each, and close them all, in the order in which they were made.

    Args:
        pipes: How many, >= 1.
        design: What gives them their buffers; there is always room for all.
        era: Whose pipe policy holds, unless the design has its own.
        cpus: CPUs, >= 1.
        costs: Prices of the estimate.
        progress: Is told of the pipes closed so far, now and then.

    Raises:
        InvalidRequestError: If a number is out of range, or the design does not follow this pipe policy (Linux).

    Complexity:
        Some 1.5 KB of memory for a pipe.
    """
    for name, value in (("pipes", pipes), ("cpus", cpus)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(name, value, "must be an int >= 1")
    limit = 8 * PIPE_SIZE * pipes  # so that none is made small for want of room
    policy, sizes = _one_pipe(design, era)
    bench = design.build(era, limit, cpus=cpus)
    space = bench.space
    buffers = []
    for _ in range(pipes):
        bases = [space.alloc(size) for size in sizes]
        space.touch(bases[0], 1)
        buffers.append(bases)
    made = bench.kernel.counters()
    for number, bases in enumerate(buffers):
        for base in bases:
            space.free(base)
        if progress is not None and number % _TELL == 0:
            progress(number)
    ended = bench.kernel.counters()
    names = [field.name for field in attrs.fields(MapCounters)]
    closed = MapCounters(**{name: getattr(ended, name) - getattr(made, name) for name in names})
    space_ops = 0 if design.one_by_one else 2 * pipes
    estimate = costs.estimate(closed, space_ops=space_ops)
    return Teardown(design.name, policy, pipes, made, closed, ended.mapped, estimate.ns)


def _one_pipe(design: Design, era: Era) -> tuple[str, list[int]]:
    """Return the name of the policy that holds, and the sizes of a new pipe's buffers, the one that is written to first."""
    limit = 8 * PIPE_SIZE
    system = design.pipes(era, design.build(era, limit).space, limit)
    if not isinstance(system, PipeSystem):
        raise InvalidRequestError("designs", design.name, "has no buffers of address space")
    return system.era.name, [half.size for half in system.pipe().halves if half.size]
