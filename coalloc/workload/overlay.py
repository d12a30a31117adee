"""`overlay`: many copies of a pipe program at once, shifted in time."""

from __future__ import annotations

import random
from array import array
from typing import Final

from coalloc.errors import InvalidRequestError
from coalloc.units import MAX_SIZE
from coalloc.workload.program import PipeOpKind, PipeProgram

__all__ = ["overlay"]

_CREATE: Final = int(PipeOpKind.CREATE)


def overlay(program: PipeProgram, copies: int, spread: int, seed: int) -> PipeProgram:
    """Run ``copies`` of a program at once, each begun at a random time, and renumber their pipes in order of creation.

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
        O(n log copies) for n operations in all; 26 bytes per operation, and during the call some Python integers for each.

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
    # A place is an operation of a copy, copies one behind the other; sorting by time keeps equal times in that order.
    # Columns are made whole, by functions that loop in C.
    all_times, all_pipes = array("q"), array("q")
    n_pipes = program.facts().pipes
    for copy, start in enumerate(starts):
        all_times.extend([time + start for time in times])
        all_pipes.extend([pipe + copy * n_pipes for pipe in pipes])
    places = sorted(range(len(all_times)), key=all_times.__getitem__)  # merges the copies, each a run in order
    new_times = array("q", map(all_times.__getitem__, places))
    new_kinds = array("b", map((kinds * copies).__getitem__, places))
    new_ends = array("b", map((ends * copies).__getitem__, places))
    new_sizes = array("q", map((sizes * copies).__getitem__, places))
    old_pipes = array("q", map(all_pipes.__getitem__, places))
    numbers = array("q", bytes(8 * n_pipes * copies))  # by old number: the new one, in order of creation
    created = [pipe for pipe, kind in zip(old_pipes, new_kinds, strict=True) if kind == _CREATE]
    for number, pipe in enumerate(created):
        numbers[pipe] = number
    new_pipes = array("q", map(numbers.__getitem__, old_pipes))
    return PipeProgram.of_valid_columns(
        new_times,
        new_kinds,
        new_pipes,
        new_ends,
        new_sizes,
        owners=program.owners,
        title=f"{copies} copies of {program.title}, begun within {spread / 1e6:.1f} s",
    )
