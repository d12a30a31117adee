"""`PctDriver`: probabilistic concurrency testing; a driver that always runs the thread of the highest priority.

Threads get random priorities, and a few random steps lower the priority of the thread that ran last.  A bug that needs d
ordered events is found with a probability that is bounded from below.

Source: Burckhardt, Kothari, Musuvathi and Nagarakatti, A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs,
ASPLOS 2010.
"""

from __future__ import annotations

import random

__all__ = ["PctDriver"]


class PctDriver:
    """Run the thread of the highest priority, and lower the priority of the running thread at a few random steps.

    Args:
        seed: The seed of all choices.
        changes: How many steps lower a priority, >= 0: one fewer than the events whose order matters.
        steps: The expected length of the run, in steps.
    """

    def __init__(self, seed: int, *, changes: int = 2, steps: int = 100) -> None:
        self._random = random.Random(seed)
        self._priorities: dict[int, float] = {}
        points = sorted(self._random.sample(range(1, max(steps, changes) + 1), changes))
        self._changes = {step: -1.0 - number for number, step in enumerate(points)}
        self._last: int | None = None

    def choose(self, step: int, runnable: tuple[int, ...], _default: int) -> int:
        """Return the runnable thread of the highest priority."""
        for thread in runnable:
            self._priorities.setdefault(thread, self._random.random())
        if step in self._changes and self._last is not None:
            self._priorities[self._last] = self._changes[step]
        self._last = max(runnable, key=self._priorities.__getitem__)
        return self._last
