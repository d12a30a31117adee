"""`RandomDriver`: a driver that draws a thread at each step; the same seed draws the same threads."""

from __future__ import annotations

import random

__all__ = ["RandomDriver"]


class RandomDriver:
    """Choose at random at each step.

    Args:
        seed: The seed of all choices.
        stay: The probability, 0 to 1, that a step takes the default choice without drawing.
    """

    def __init__(self, seed: int, *, stay: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._stay = stay

    def choose(self, _step: int, runnable: tuple[int, ...], default: int) -> int:
        """Return the default with probability ``stay``, and otherwise any runnable thread, each as likely as the others."""
        if self._stay and self._random.random() < self._stay:
            return default
        return runnable[self._random.randrange(len(runnable))]
