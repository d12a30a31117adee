"""Soaking: random programs at full speed, one after the other, numbered, so that a run can be taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, random_program
from coalloc.testing.subject import Subject

__all__ = ["SoakResult", "soak"]

_STEPS: Final = 400
_DEEP_EVERY: Final = 16
"""Answers are judged at every step; all that can be seen is compared after so many."""


@attrs.frozen
class SoakResult:
    """How far a soak came: programs and operations of this run, the number of the next program, and what was found."""

    programs: int
    operations: int
    next_program: int
    found: Counterexample | None = None


def soak(
    subject: Subject,
    *,
    seed: int = 0,
    start: int = 0,
    enough: Callable[[int, int], bool],
) -> SoakResult:
    """Run random programs until one breaks a property, or enough have been run; then make it small.

    Args:
        subject: What is under test.
        seed: What the programs are drawn from.
        start: Number of the first program, >= 0: ``next_program`` of a run before takes it up again.
        enough: Is asked after every program, with programs and operations so far.

    Raises:
        InvalidRequestError: If ``start`` is no int >= 0, or there is no contract.
    """
    if type(start) is not int or start < 0:
        raise InvalidRequestError("start", start, "must be an int >= 0")
    fast = attrs.evolve(subject, deep_every=_DEEP_EVERY)
    number, operations = start, 0
    while True:
        program = f"{seed}/{number}"
        judge, found = random_program(fast, _seed_of(program), steps=_STEPS)
        number += 1
        operations += len(judge.steps) if judge is not None else 0
        if found is not None:
            return SoakResult(number - start, operations, number, _smallest(subject, fast, found, program))
        if enough(number - start, operations):
            return SoakResult(number - start, operations, number)


def _seed_of(program: str) -> int:
    """Return the seed of a program, such that neighbouring runs share none."""
    seed, _, number = program.partition("/")
    return int(seed) * 10**12 + int(number)


def _smallest(subject: Subject, fast: Subject, found: Counterexample, program: str) -> Counterexample:
    """Find the first breach there is, looking at everything after every step, and make its program small."""
    _, exact = random_program(subject, _seed_of(program), steps=_STEPS)
    return minimise(subject, exact) if exact is not None else minimise(fast, found)
