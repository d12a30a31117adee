"""`Curve`: counted work against the number of the call, as a frozen value that reports draw."""

from __future__ import annotations

from typing import Final

import attrs

from coalloc.metrics import growth_exponent

__all__ = ["FIRST_MEAN", "FLAT", "Curve"]

FLAT: Final = 0.1
"""A curve with a lower exponent is flat."""

FIRST_MEAN: Final = 64
"""The number of the call from which means are taken."""


@attrs.frozen
class Curve:
    """Counted work against the number of the call.

    Args:
        what: ``pipe`` or ``descriptor``.
        name: The name of the design or layout.
        era: The era of the pipe code; empty for descriptors.
        load: The name of the load.
        work: The work of the first call, the second, and so on.
    """

    what: str
    name: str
    era: str
    load: str
    work: tuple[int, ...] = attrs.field(repr=False)

    @property
    def means(self) -> tuple[tuple[int, float], ...]:
        """The mean work over each of [64, 128), [128, 256), ..., with the first number of each."""
        found = []
        first = FIRST_MEAN
        while 2 * first <= len(self.work) + 1:
            found.append((first, sum(self.work[first - 1 : 2 * first - 1]) / first))
            first *= 2
        return tuple(found)

    @property
    def exponent(self) -> float:
        """The exponent e of the best fit ``work ~ i ** e``."""
        return growth_exponent(self.means)

    @property
    def flat(self) -> bool:
        """Whether the work does not grow with the number of the call."""
        return self.exponent < FLAT
