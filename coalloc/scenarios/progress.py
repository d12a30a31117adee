"""`Progress`: how a running scenario tells how far it is; where nobody watches, it costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

__all__ = ["Advance", "Progress", "Silent"]

Advance: TypeAlias = Callable[[int], None]
"""Call it with the number done so far."""


class Progress(Protocol):
    """Shows how far a scenario is."""

    def say(self, text: str) -> None:
        """Say what comes next."""

    def task(self, text: str, total: int | None) -> AbstractContextManager[Advance | None]:
        """Show one task while the context lasts.

        Args:
            text: What is done.
            total: How many there are to do; None if that is not known.

        Returns:
            A context that yields what to call with the number done so far, or None where nobody watches.
        """


class Silent:
    """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def task(self, _text: str, _total: int | None) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()
