"""`Progress`: the reports of a running scenario on how far it is; without a watcher they cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeAlias

__all__ = ["Advance", "Progress", "Silent"]

Advance: TypeAlias = Callable[[int], None]
"""A function to call with the number done so far."""


class Progress(Protocol):
    """Show how far a scenario is."""

    def say(self, text: str) -> None:
        """Say what comes next."""

    def task(self, text: str, total: int | None) -> AbstractContextManager[Advance | None]:
        """Show one task while the context lasts.

        Args:
            text: The description of the task.
            total: How many units the task has; None if that is not known.

        Returns:
            A context that yields a function to call with the number done so far, or None if nobody watches.
        """


class Silent:
    """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def task(self, _text: str, _total: int | None) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()
