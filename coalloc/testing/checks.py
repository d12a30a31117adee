"""What a directed check is, and how it tells that a property is broken, or that it does not apply."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import Subject

__all__ = ["Again", "Check", "CheckFailed", "NotPromised", "Suspicion"]


class NotPromised(Exception):  # noqa: N818 (no mistake of anybody)
    """Raised with the reason why a check does not apply."""


@attrs.frozen
class Check:
    """A directed check.

    Args:
        name: Its name, words joined by hyphens.
        property: The property that it tests.
        run: Runs the check; raises Breach, CheckFailed or NotPromised.
        thorough: Whether it takes so long that it runs only when a thorough check is asked for.
    """

    name: str
    property: Property
    run: Callable[[Subject], None]
    thorough: bool = False


Again = Callable[[CheckProgram], Breach | None]
"""A function that runs a program and returns the breach that a check finds in it, or None."""


class CheckFailed(Breach):
    """A breach with the program that shows it.

    Args:
        breach: The breach.
        program: What shows it.
        again: Looks for the breach in another program; None runs that beside the judge.
        suspect: Whether the contract does not clearly promise what is broken, so that it is a suspicion only.
    """

    def __init__(
        self, breach: Breach, program: CheckProgram, again: Again | None = None, *, suspect: bool = False
    ) -> None:
        super().__init__(breach.property, breach.message)
        self.program = program
        self.again = again
        self.suspect = suspect


class Suspicion(Breach):
    """What points at a fault and does not prove it; it is reported, and breaks no property."""
