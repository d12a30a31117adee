"""The kill matrix: what finds each mutant, which properties it breaks, and with how short a program."""

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
from coalloc.testing.small import search_small
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import Subject

__all__ = ["Kill", "kill", "matrix_text", "not_applicable_text"]

_SEEDS: Final = (1, 2, 3, 4, 5)
_MOST_PROGRAMS: Final = 150
_APART: Final = 1000
SMALL: Final = "small"
RANDOM: Final = "random"


@attrs.frozen
class Kill:
    """How a mutant was killed.

    Args:
        mutant: The mutant.
        properties: The properties that are broken.
        operations: How many steps it took: those of the small programs, or of random ones, the median over five seeds; None
            where a directed check finds the mutant.
        program: The shortest program; None where a check needs none, or nothing was found.
        by: What killed it: ``small``, ``random``, or the name of a directed check; empty if nothing did.
    """

    mutant: Mutant
    properties: tuple[Property, ...]
    operations: int | None
    program: CheckProgram | None
    by: str = ""

    @property
    def killed(self) -> bool:
        """Whether any property is broken."""
        return bool(self.properties)


def kill(mutant: Mutant, *, hidden: bool = False) -> Kill:
    """Find a mutant as cheaply as it can be found: by small programs, by the directed check that it names, by random programs.

    Args:
        mutant: The mutant.
        hidden: Whether its segments(), stats() and violations() are hidden, so that only its answers can show the bug.  A
            mutant whose answers are right is not tried.
    """
    if hidden and mutant.only_shown:
        return Kill(mutant, (), None, None)
    state = random.getstate()
    random.seed(mutant.number)  # for those that draw from the global generator: the matrix is always the same
    try:
        subject = Subject(hide(mutant.make_space) if hidden else mutant.make_space)
        return (
            (_by_check(mutant, subject, mutant.check) if mutant.check else None)
            or _by_small_programs(mutant, subject)
            or _by_random_programs(mutant, subject)
            or _by_check(mutant, subject)
            or Kill(mutant, (), None, None)
        )
    finally:
        random.setstate(state)


def _by_small_programs(mutant: Mutant, subject: Subject) -> Kill | None:
    search = search_small(subject, first=True)
    if not search.found:
        return None
    broken = tuple(item for item in Property if item in search.found)
    least = min((found.program for found in search.found.values()), key=lambda program: len(program.steps))
    return Kill(mutant, broken, search.operations, least, SMALL)


def _by_random_programs(mutant: Mutant, subject: Subject) -> Kill | None:
    """Count how long random programs of five seeds take to find a mutant, and keep the shortest program."""
    counts: list[int] = []
    founds: list[Counterexample] = []
    for seed in _SEEDS:
        operations, found = _first_found(subject, seed)
        if found is None:
            return None
        counts.append(operations)
        founds.append(found)
    properties = {found.breach.property for found in founds}
    shortened = [minimise(subject, found).program for found in founds]
    least = min(shortened, key=lambda program: len(program.steps))
    broken = tuple(item for item in Property if item in properties)
    return Kill(mutant, broken, round(statistics.median(counts)), least, RANDOM)


def _by_check(mutant: Mutant, subject: Subject, name: str = "") -> Kill | None:
    """Run a directed check, or all that are not thorough until one finds a breach."""
    met = first_breach(subject, name)
    if met is None:
        return None
    check, breach = met
    least = None
    if isinstance(breach, CheckFailed):
        found = Counterexample(breach.program, Breach(breach.property, breach.message))
        least = minimise(subject, found, run=breach.again).program
    return Kill(mutant, (breach.property,), None, least, check.name)


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
        "mutant" + " " * 42 + "".join(f"{item.name[1:]:>3}" for item in Property) + "   ops steps found by",
    ]
    for row in kills:
        marks = "".join("  x" if item in row.properties else "  ." for item in Property)
        ops = f"{row.operations}" if row.operations is not None else "-"
        steps = f"{len(row.program.steps)}" if row.program is not None else "-"
        lines.append(f"M{row.mutant.number:<4}{row.mutant.name:<43}{marks} {ops:>5} {steps:>5} {row.by}".rstrip())
    return "\n".join(lines) + "\n"


def not_applicable_text() -> str:
    """Return the reasons why the other mutants cannot exist here, one a line."""
    return "".join(f"M{number:<3}{reason}\n" for number, reason in NOT_APPLICABLE.items())
