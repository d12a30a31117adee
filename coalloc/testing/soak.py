"""Soaking: run numbered random programs at full speed, so that a run can be resumed at a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, random_program, scouted_program
from coalloc.testing.properties import Breach
from coalloc.testing.scout import can_scout
from coalloc.testing.subject import Subject

__all__ = ["SoakResult", "soak"]

_STEPS: Final = 400
_DEEP_EVERY: Final = 16
"""Answers are judged at every step, and everything that can be seen is compared once in so many steps."""
_EVERY_JUDGED: Final = 32
"""One program in so many runs under the judge; the others run with the scout, and under the judge where it doubts."""


@attrs.frozen
class SoakResult:
    """The result of a soak.

    Args:
        programs: How many programs were run.
        operations: How many steps they had.
        next_program: The number of the next program.
        found: What was found.
        doubts: How many programs the scout doubted in which the judge found nothing.
        interrupted: Whether the soak was interrupted.
    """

    programs: int
    operations: int
    next_program: int
    found: Counterexample | None = None
    doubts: int = 0
    interrupted: bool = False


def soak(
    subject: Subject,
    *,
    seed: int = 0,
    start: int = 0,
    enough: Callable[[int, int], bool],
    tell: Callable[[Counterexample], None] = lambda _found: None,
) -> SoakResult:
    """Run random programs until enough have been run or one breaks a property, and then minimise that one.

    Args:
        subject: The allocator under test.
        seed: The seed that the programs are drawn from.
        start: Number of the first program, >= 0; ``next_program`` of an earlier run resumes that run.
        enough: Called after every program with the programs and operations so far; returns whether to stop.
        tell: Called with what is found before it is minimised.

    Raises:
        InvalidRequestError: If ``start`` is not an int >= 0, or there is no contract.
    """
    if type(start) is not int or start < 0:
        raise InvalidRequestError("start", start, "must be an int >= 0")
    fast = attrs.evolve(subject, deep_every=_DEEP_EVERY)
    try:
        nature = subject.nature
        scouts = can_scout(nature[0])
    except Breach:
        nature, scouts = None, False
    number, operations, doubts = start, 0, 0
    while True:
        program = f"{seed}/{number}"
        found, looks_wrong = None, True
        if scouts and nature is not None and number % _EVERY_JUDGED:
            n_steps, looks_wrong = scouted_program(subject, _seed_of(program), steps=_STEPS, nature=nature)
            operations += n_steps
            doubts += looks_wrong
        if looks_wrong:
            judge, found = random_program(fast, _seed_of(program), steps=_STEPS, nature=nature)
            operations += len(judge.steps) if judge is not None else 0
        number += 1
        if found is not None:
            tell(found)
            least = _smallest(subject, fast, found, program)
            return SoakResult(number - start, operations, number, least, doubts - 1)
        if enough(number - start, operations):
            return SoakResult(number - start, operations, number, None, doubts)


def _seed_of(program: str) -> int:
    """Return the seed of a program, so that runs with neighbouring seeds share no program."""
    seed, _, number = program.partition("/")
    return int(seed) * 10**12 + int(number)


def _smallest(subject: Subject, fast: Subject, found: Counterexample, program: str) -> Counterexample:
    """Find the first breach by comparing everything after every step, and minimise its program."""
    _, exact = random_program(subject, _seed_of(program), steps=_STEPS)
    return minimise(subject, exact) if exact is not None else minimise(fast, found)
