"""`check`: report the invariants that a thing finds broken in itself; one function for every stateful class."""

from __future__ import annotations

from typing import Protocol

from coalloc.errors import InvariantViolation, Violation

__all__ = ["Checkable", "Checked", "check"]


class Checkable(Protocol):
    """What can look for its own broken invariants."""

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant, recomputed without trust in any index."""


def check(thing: Checkable) -> None:
    """Look for broken invariants.

    Args:
        thing: What is looked at.  If it has ``dump()``, the error shows that picture of it, else what ``render()`` draws.

    Raises:
        InvariantViolation: With every invariant that is broken.
    """
    found = thing.violations()
    if found:
        draw = getattr(thing, "dump", None) or getattr(thing, "render", None)
        raise InvariantViolation(tuple(found), draw() if draw is not None else "")


class Checked:
    """A class whose objects check themselves; it says what is broken by ``violations()``."""

    __slots__ = ()

    def check(self: Checkable) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
        check(self)
