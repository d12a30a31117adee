"""Soaking: run numbered random programs at full speed, so that a run can be resumed at a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from coalloc.contract import Capability, Contract
from coalloc.errors import InvalidRequestError
from coalloc.native import NativeFactory
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, random_program, run_program, scouted_program
from coalloc.testing.properties import Breach
from coalloc.testing.relay import relayed_programs
from coalloc.testing.scout import can_scout
from coalloc.testing.subject import Subject, capabilities

__all__ = ["SoakResult", "soak"]

_STEPS: Final = 400
_DEEP_EVERY: Final = 16
"""Answers are judged at every step, and everything that can be seen is compared once in so many steps."""
_EVERY_JUDGED: Final = 32
"""One program in so many runs under the judge; the others run with the scout, and under the judge where it doubts."""
_EVERY_RELAYED: Final = 512
"""The same for an allocator in C, whose other programs run in one piece: to judge one takes as long as to relay some twenty."""


@attrs.frozen
class SoakResult:
    """The result of a soak.

    Args:
        programs: How many programs were run.
        operations: How many steps they had; of a program in one piece those that made a call.
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
    can = capabilities(subject) if isinstance(subject.make_space, NativeFactory) else None
    every = _EVERY_JUDGED if can is None else _EVERY_RELAYED
    number, operations, doubts = start, 0, 0
    while True:
        drawn = _Drawn(subject, fast, f"{seed}/{number}", nature)
        quick = scouts and number % every != 0
        if not quick:
            n_operations, doubted, found = drawn.judged()
        elif can is None:
            n_operations, doubted, found = drawn.scouted()
        else:
            n_operations, doubted, found = drawn.relayed(can)
        operations += n_operations
        doubts += doubted
        number += 1
        if found is not None:
            tell(found)
            least = minimise(subject, found) if quick and can is not None else drawn.smallest(found)
            return SoakResult(number - start, operations, number, least, doubts - (doubted > 0))
        if enough(number - start, operations):
            return SoakResult(number - start, operations, number, None, doubts)


_Ran = tuple[int, int, Counterexample | None]
"""Operations, doubts, and what was found."""


@attrs.frozen
class _Drawn:
    """A program by its name, and the ways to run it.

    Args:
        subject: The allocator under test.
        fast: The same, where everything is compared only once in so many steps.
        name: The seed and the number.
        nature: Contract and quantum of the allocator; None if it cannot be made.
    """

    subject: Subject
    fast: Subject
    name: str
    nature: tuple[Contract, int] | None

    def judged(self) -> _Ran:
        """Run it under the judge."""
        judge, found = random_program(self.fast, _seed_of(self.name), steps=_STEPS, nature=self.nature)
        return len(judge.steps) if judge is not None else 0, 0, found

    def scouted(self) -> _Ran:
        """Run it with the scout, and where that doubts, under the judge."""
        assert self.nature is not None  # else nobody would scout
        n_steps, doubted = scouted_program(self.subject, _seed_of(self.name), steps=_STEPS, nature=self.nature)
        if not doubted:
            return n_steps, 0, None
        operations, _, found = self.judged()
        return n_steps + operations, 1, found

    def relayed(self, can: frozenset[Capability]) -> _Ran:
        """Run it in one piece, in several ways, and where the scout doubts the answers, under the judge."""
        assert self.nature is not None
        operations = doubts = 0
        for program, n_calls, doubted in relayed_programs(
            self.subject, _seed_of(self.name), steps=_STEPS, nature=self.nature, can=can
        ):
            operations += n_calls
            if doubted:
                doubts += 1
                operations += len(program.steps)
                breach = run_program(self.fast, program)
                if breach is not None:
                    return operations, doubts, Counterexample(program, breach)
        return operations, doubts, None

    def smallest(self, found: Counterexample) -> Counterexample:
        """Find the first breach by comparing everything after every step, and minimise its program."""
        _, exact = random_program(self.subject, _seed_of(self.name), steps=_STEPS)
        return minimise(self.subject, exact) if exact is not None else minimise(self.fast, found)


def _seed_of(program: str) -> int:
    """Return the seed of a program, so that runs with neighbouring seeds share no program."""
    seed, _, number = program.partition("/")
    return int(seed) * 10**12 + int(number)
