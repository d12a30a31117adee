"""`overlay`: many copies of a pipe program at once, shifted in time."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from typing import Final

from coalloc.errors import InvalidRequestError
from coalloc.units import MAX_SIZE
from coalloc.workload.program import MOST_CPUS, PipeOpKind, PipeProgram

__all__ = ["overlay"]

_CREATE: Final = int(PipeOpKind.CREATE)
_PIECE: Final = 200_000
"""About so many operations are put in order at once."""
_SAMPLES: Final = 1_000_000
"""The most times by which the pieces are cut."""


def overlay(program: PipeProgram, copies: int, spread: int, seed: int) -> PipeProgram:
    """Run ``copies`` of a program at once, each begun at a random time, and renumber their pipes in order of creation.

    Where CPUs are known, each copy runs on others, as many as the program has.

    Args:
        program: The program to copy.
        copies: The number of copies, >= 1.
        spread: Copies begin at whole microseconds drawn evenly from 0 .. ``spread``; the earliest is moved to 0.
        seed: The seed of the generator that draws these times.

    Raises:
        InvalidRequestError: For copies or spread outside their range, or if the last copy would end after 2**63 us.

    Guarantees:
        The order within each copy is kept; operations of equal time come copy by copy.

    Complexity:
        O(n log copies) for n operations in all; 26 bytes per operation.  It is made in pieces, so that it can be interrupted.

    >>> from coalloc.workload.program import PipeOp
    >>> one = PipeProgram([PipeOp(0, PipeOpKind.CREATE, 0), PipeOp(9, PipeOpKind.CLOSE, 0, 0)])
    >>> overlay(one, copies=3, spread=5, seed=1).facts().pipes
    3
    """
    if type(copies) is not int or copies < 1:
        raise InvalidRequestError("copies", copies, "must be an int >= 1")
    if type(spread) is not int or spread < 0:
        raise InvalidRequestError("spread", spread, "must be an int >= 0, in microseconds")
    if spread + program.facts().duration >= MAX_SIZE:
        raise InvalidRequestError("spread", spread, "copies would end after 2**63 microseconds")
    if copies == 1:
        return program
    generator = random.Random(seed)
    starts = sorted(generator.randint(0, spread) for _ in range(copies))
    starts = [start - starts[0] for start in starts]
    times, kinds, pipes, ends, sizes = program.columns()
    n_pipes = program.facts().pipes
    numbers = array("q", bytes(8 * n_pipes * copies))  # by old number: the new one, in order of creation
    created = 0
    new_times, new_pipes, new_sizes = array("q"), array("q"), array("q")
    new_kinds, new_ends = array("b"), array("b")
    cpus, new_cpus = program.cpus, array("h")
    n_cpus = max(cpus, default=0) + 1 if cpus is not None else 0
    done = [0] * copies
    for bound in _bounds(times, starts):
        # The operations before a time, copy by copy; sorting by time keeps equal times in that order.  A piece is made whole,
        # by functions that loop in C.
        some_times, some_pipes, some_sizes = array("q"), array("q"), array("q")
        some_kinds, some_ends = array("b"), array("b")
        some_cpus = array("h")
        for copy, start in enumerate(starts):
            first, last = done[copy], bisect_left(times, bound - start, done[copy])
            done[copy] = last
            some_times.extend([time + start for time in times[first:last]])
            some_pipes.extend([pipe + copy * n_pipes for pipe in pipes[first:last]])
            some_kinds.extend(kinds[first:last])
            some_ends.extend(ends[first:last])
            some_sizes.extend(sizes[first:last])
            if cpus is not None:
                some_cpus.extend([cpu if cpu < 0 else (cpu + copy * n_cpus) % MOST_CPUS for cpu in cpus[first:last]])
        places = sorted(range(len(some_times)), key=some_times.__getitem__)  # merges the copies, each a run in order
        for place in places:
            if some_kinds[place] == _CREATE:
                numbers[some_pipes[place]] = created
                created += 1
        new_times.extend(map(some_times.__getitem__, places))
        new_kinds.extend(map(some_kinds.__getitem__, places))
        new_ends.extend(map(some_ends.__getitem__, places))
        new_sizes.extend(map(some_sizes.__getitem__, places))
        new_pipes.extend([numbers[some_pipes[place]] for place in places])
        if cpus is not None:
            new_cpus.extend(map(some_cpus.__getitem__, places))
    return PipeProgram.of_valid_columns(
        new_times,
        new_kinds,
        new_pipes,
        new_ends,
        new_sizes,
        owners=program.owners,
        cpus=None if cpus is None else new_cpus,
        title=f"{copies} copies of {program.title}, begun within {spread / 1e6:.1f} s",
    )


def _bounds(times: array[int], starts: list[int]) -> list[int]:
    """Return times that cut all operations into pieces of some hundred thousand; the last is later than any operation."""
    every = max(_PIECE // len(starts), len(times) * len(starts) // _SAMPLES, 1)
    sampled = sorted(time + start for start in starts for time in times[::every])
    step = max(_PIECE // every, 1)
    return [*dict.fromkeys(sampled[step::step]), MAX_SIZE]
