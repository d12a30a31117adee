"""`Placement`: a request with vmem(9)'s constraints, and the lowest address at which a hole admits it."""

from __future__ import annotations

import attrs

from coalloc.contract import ANYWHERE, Bounds, Geometry
from coalloc.errors import InvalidRequestError, Rule
from coalloc.units import MAX_ADDRESS, is_power_of_two, require_size, round_up

__all__ = ["Placement", "rounded"]


def rounded(size: int, quantum: int, geometry: Geometry) -> int:
    """Return the size to which a design rounds a request: whole quanta, and for buddies a power of two of them.

    >>> rounded(5, 1, Geometry.ANY), rounded(5, 1, Geometry.BUDDY), rounded(5, 4, Geometry.BUDDY)
    (5, 8, 8)
    """
    quanta = -(-size // quantum)
    return quantum << (quanta - 1).bit_length() if geometry is Geometry.BUDDY else quanta * quantum


@attrs.frozen
class Placement:
    """A legal request: its size, rounded to the quantum, and its constraints.  Make one with :meth:`of`.

    ``align`` is at least the quantum; ``nocross`` is 0 for no such constraint; ``hi`` is inclusive.
    """

    size: int
    quantum: int
    align: int
    phase: int = 0
    nocross: int = 0
    lo: int = 0
    hi: int = MAX_ADDRESS

    @classmethod
    def of(cls, size: int, quantum: int, bounds: Bounds = ANYWHERE) -> Placement:
        """Check the arguments of ``xalloc`` and round the size.

        Raises:
            InvalidRequestError: For the first argument that is outside its range.
        """
        size = round_up(require_size(size), quantum)
        align, phase, nocross, lo, hi = bounds.align, bounds.phase, bounds.nocross, bounds.lo, bounds.hi
        for what, value in (("align", align), ("phase", phase), ("nocross", nocross), ("lo", lo), ("hi", hi)):
            if type(value) is not int or not 0 <= value <= MAX_ADDRESS:
                raise InvalidRequestError(what, value, "must be an int in 0 .. 2**64 - 1")
        if align and not is_power_of_two(align):
            raise InvalidRequestError("align", align, "must be a power of two, or 0 for none")
        if phase and phase >= align:
            raise InvalidRequestError("phase", phase, f"must be less than align={align}")
        if phase % quantum:
            raise InvalidRequestError("phase", phase, f"must be a multiple of the quantum {quantum}")
        if nocross and not is_power_of_two(nocross):
            raise InvalidRequestError("nocross", nocross, "must be a power of two, or 0 for none")
        if nocross and nocross < size:
            raise InvalidRequestError("nocross", nocross, f"must be at least the size {size}")
        if lo > hi:
            raise InvalidRequestError("lo", lo, f"must be at most hi={hi}")
        return cls(size, quantum, max(align, quantum), phase, nocross, lo, hi)

    def start_in(self, base: int, size: int) -> int:
        """Return the lowest admissible address in the hole [base, base + size), or -1.

        Complexity: O(1), because after one step to a nocross boundary all later boundaries are alike.
        """
        start = self._aligned(max(base, self.lo))
        if self._crosses(start):
            start = self._aligned(round_up(start, self.nocross))
            if self._crosses(start):
                return -1
        end = start + self.size
        return start if end <= base + size and end - 1 <= self.hi else -1

    def rule_against(self, base: int, size: int) -> Rule:
        """Return the rule that keeps the request out of a hole in which ``start_in`` finds no place.

        The rules are added in the order size, lo, hi, align (with phase), nocross.  The result is the first rule that leaves
        no place.
        """
        if size < self.size:
            return Rule.SIZE
        trial = Placement(self.size, self.quantum, self.quantum)
        for rule, changes in (
            (Rule.LO, {"lo": self.lo}),
            (Rule.HI, {"hi": self.hi}),
            (Rule.ALIGN, {"align": self.align, "phase": self.phase}),
        ):
            trial = attrs.evolve(trial, **changes)
            if trial.start_in(base, size) < 0:
                return rule
        return Rule.NOCROSS

    @property
    def possible(self) -> bool:
        """Whether any hole at all could admit the request."""
        return self.start_in(0, MAX_ADDRESS + 1) >= 0

    @property
    def sure_size(self) -> int:
        """The size of a hole that admits the request at every multiple of the quantum, if lo and hi are ignored."""
        if self.align == self.quantum and not self.nocross:
            return self.size
        return self.size + max(self.align, self.nocross) + self.phase

    def _aligned(self, address: int) -> int:
        return round_up(address - self.phase, self.align) + self.phase if address > self.phase else self.phase

    def _crosses(self, start: int) -> bool:
        return bool(self.nocross) and start // self.nocross != (start + self.size - 1) // self.nocross
