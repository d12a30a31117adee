"""The kill matrix: which properties find each mutant, after how many operations, and with how short a program."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Final

import attrs

from coalloc.testing.check import first_breach
from coalloc.testing.checks import CheckFailed
from coalloc.testing.hidden import hide
from coalloc.testing.minimise import minimise
from coalloc.testing.mutants import NOT_APPLICABLE, Mutant
from coalloc.testing.programs import Counterexample, random_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import Subject

__all__ = ["Kill", "kill", "matrix_text", "not_applicable_text"]

_SEEDS: Final = (1, 2, 3, 4, 5)
_MOST_PROGRAMS: Final = 150
_APART: Final = 1000


@attrs.frozen
class Kill:
    """How a mutant was killed.

    Args:
        mutant: The mutant.
        properties: The properties that random programs of five seeds break; where they miss it, the one that a directed
            check breaks.
        operations: How many steps of random programs it takes to break a property, the median over five seeds; None where
            only a directed check finds the mutant.
        program: The shortest program; None where a check needs none, or nothing was found.
    """

    mutant: Mutant
    properties: tuple[Property, ...]
    operations: int | None
    program: CheckProgram | None

    @property
    def killed(self) -> bool:
        """Whether any property is broken."""
        return bool(self.properties)


def kill(mutant: Mutant, *, hidden: bool = False) -> Kill:
    """Count how long random programs take to find a mutant, and try the directed checks if they miss it.

    Args:
        mutant: The mutant.
        hidden: Whether its segments(), stats() and violations() are hidden, so that only its answers can show the bug.
    """
    state = random.getstate()
    random.seed(mutant.number)  # for those that draw from the global generator: the matrix is always the same
    try:
        return _kill(mutant, Subject(hide(mutant.make_space) if hidden else mutant.make_space))
    finally:
        random.setstate(state)


def _kill(mutant: Mutant, subject: Subject) -> Kill:
    """Count how long random programs take to find a mutant, and keep the shortest program of all seeds."""
    counts: list[int] = []
    founds: list[Counterexample] = []
    for seed in _SEEDS:
        operations, found = _first_found(subject, seed)
        if found is None:
            break
        counts.append(operations)
        founds.append(found)
    everywhere = len(counts) == len(_SEEDS)
    properties = {found.breach.property for found in founds}
    shortened = [minimise(subject, found).program for found in founds]
    least = min(shortened, key=lambda program: len(program.steps), default=None)
    if not everywhere:
        breach = first_breach(subject)
        if breach is not None:
            properties.add(breach.property)
            if isinstance(breach, CheckFailed) and least is None:
                found = Counterexample(breach.program, Breach(breach.property, breach.message))
                least = minimise(subject, found, run=breach.again).program
    return Kill(
        mutant,
        tuple(item for item in Property if item in properties),
        round(statistics.median(counts)) if everywhere else None,
        least,
    )


def _first_found(subject: Subject, seed: int) -> tuple[int, Counterexample | None]:
    """Run random programs until one breaks a property; return how many steps that took, and what was found."""
    operations = 0
    for number in range(_MOST_PROGRAMS):
        judge, found = random_program(subject, seed * _APART + number)
        operations += len(judge.steps) if judge is not None else 1
        if found is not None:
            return operations, found
    return operations, None


def matrix_text(kills: Sequence[Kill]) -> str:
    """Return the matrix as a table of fixed width."""
    lines = [
        "mutant" + " " * 42 + "".join(f"{item.name[1:]:>3}" for item in Property) + "    ops  steps",
    ]
    for row in kills:
        marks = "".join("  x" if item in row.properties else "  ." for item in Property)
        ops = f"{row.operations}" if row.operations is not None else "directed"
        steps = f"{len(row.program.steps)}" if row.program is not None else "-"
        lines.append(f"M{row.mutant.number:<4}{row.mutant.name:<43}{marks} {ops:>8} {steps:>4}")
    return "\n".join(lines) + "\n"


def not_applicable_text() -> str:
    """Return the reasons why the other mutants cannot exist here, one a line."""
    return "".join(f"M{number:<3}{reason}\n" for number, reason in NOT_APPLICABLE.items())
