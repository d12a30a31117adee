"""The kill matrix: which properties find each mutant, after how many operations, and with how short a program."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import attrs

from coalloc.testing.check import Ruling, check_space
from coalloc.testing.minimise import minimise
from coalloc.testing.mutants import NOT_APPLICABLE, Mutant
from coalloc.testing.programs import random_program
from coalloc.testing.properties import Property
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import Subject

__all__ = ["Kill", "kill", "matrix_text", "not_applicable_text"]

_SEEDS: Final = (1, 2, 3, 4, 5)
_MOST_PROGRAMS: Final = 150
_EXAMPLES: Final = 60
_APART: Final = 1000


@attrs.frozen
class Kill:
    """How a mutant was killed.

    Args:
        mutant: The mutant.
        properties: The properties that a check finds broken.
        operations: How many steps of random programs it takes to break a property, the median over five seeds; None where
            only a directed check finds the mutant.
        program: The shortest program; None where a check needs none.
    """

    mutant: Mutant
    properties: tuple[Property, ...]
    operations: int | None
    program: CheckProgram | None

    @property
    def killed(self) -> bool:
        """Whether any property is broken."""
        return bool(self.properties)


def kill(mutant: Mutant) -> Kill:
    """Check a mutant, and count how long random programs take to find it."""
    report = check_space(mutant.make_space, examples=_EXAMPLES)
    broken = [verdict for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]
    programs = [verdict.found.program for verdict in broken if verdict.found is not None]
    subject = Subject(mutant.make_space)
    counts: list[int] = []
    properties = {verdict.property for verdict in broken}
    for seed in _SEEDS:
        operations = 0
        for number in range(_MOST_PROGRAMS):
            judge, found = random_program(subject, seed * _APART + number)
            operations += len(judge.steps) if judge is not None else 1
            if found is not None:
                counts.append(operations)
                properties.add(found.breach.property)
                if seed == _SEEDS[0]:
                    programs.append(minimise(subject, found).program)
                break
        else:
            break
    return Kill(
        mutant,
        tuple(item for item in Property if item in properties),
        round(statistics.median(counts)) if len(counts) == len(_SEEDS) else None,
        min(programs, key=lambda program: len(program.steps), default=None),
    )


def matrix_text(kills: Sequence[Kill]) -> str:
    """Return the matrix as a table of fixed width."""
    lines = [
        "mutant" + " " * 42 + "".join(f"{item.name[1:]:>3}" for item in Property) + "    ops  steps",
    ]
    for row in kills:
        marks = "".join("  x" if item in row.properties else "  ." for item in Property)
        ops = f"{row.operations}" if row.operations is not None else "directed"
        steps = f"{len(row.program.steps)}" if row.program is not None else "-"
        lines.append(f"M{row.mutant.number:<3}{row.mutant.name:<44}{marks} {ops:>8} {steps:>4}")
    return "\n".join(lines) + "\n"


def not_applicable_text() -> str:
    """Return the reasons why the other mutants cannot exist here, one a line."""
    return "".join(f"M{number:<3}{reason}\n" for number, reason in NOT_APPLICABLE.items())
