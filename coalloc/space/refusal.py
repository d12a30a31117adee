"""What a refused request is told: for every hole the rule that killed it, and the smallest changes that would succeed.

The data is frozen at the refusal; the explanation is worked out when somebody asks for it.
"""

from __future__ import annotations

import attrs

from coalloc.errors import ExhaustionError, Explanation, HoleVerdict, KvaLimitError, NoSpaceError, Remedy
from coalloc.space.placement import MAX_ADDRESS, Placement
from coalloc.units import round_down, round_up

__all__ = ["Refusal"]


@attrs.frozen
class Refusal:
    """The state of a space at the moment it refused.

    Args:
        request: What was asked for.
        quantum: Bytes of a quantum.
        holes: Base and size of every hole.
        mapped: Bytes mapped.
        kva_limit: The most that may be mapped.
        granule: What sizes are rounded to when an arena is imported.
        available: What the source would have mapped.
    """

    request: Placement
    quantum: int
    holes: tuple[tuple[int, int], ...]
    mapped: int
    kva_limit: int
    granule: int
    available: int

    def error(self) -> ExhaustionError:
        """Return the exception to raise: KvaLimitError where the limit forbade an import, else NoSpaceError."""
        limited = round_up(self.request.size, self.granule) > self.kva_limit - self.mapped
        return (KvaLimitError if limited else NoSpaceError)(
            self.request.size,
            free=sum(size for _, size in self.holes),
            largest_hole=max((size for _, size in self.holes), default=0),
            mapped=self.mapped,
            kva_limit=self.kva_limit,
            explain=self.explain,
        )

    def explain(self) -> Explanation:
        """Work out the explanation.

        Complexity: O(h log s) for h holes and a request of s quanta.
        """
        need = round_up(self.request.size, self.granule)
        headroom = self.kva_limit - self.mapped
        if not self.request.possible:
            verdict = "no arena could admit the request: its constraints contradict each other"
        elif need > headroom:
            verdict = f"needs {need} bytes, and kva_limit leaves {max(headroom, 0)}"
        elif need > self.available:
            verdict = f"needs {need} bytes, and the source offers {self.available}"
        else:
            verdict = "the arena that the source offered does not admit the request"
        return Explanation(
            self.request.size,
            tuple(HoleVerdict(base, size, self.request.rule_against(base, size)) for base, size in sorted(self.holes)),
            verdict,
            tuple(self._remedies(need)),
        )

    def _remedies(self, need: int) -> list[Remedy]:
        request, found = self.request, []
        smaller = self._largest_size()
        if smaller:
            found.append(Remedy("size", smaller))
        if request == Placement(request.size, self.quantum) and self.kva_limit - self.mapped < need <= self.available:
            found.append(Remedy("kva_limit", self.mapped + need))
        for what, value in (("align", 0), ("nocross", 0), ("lo", 0), ("hi", MAX_ADDRESS)):
            if what == "align":
                relaxed = attrs.evolve(request, align=self.quantum, phase=0)
            else:
                relaxed = attrs.evolve(request, **{what: value})
            if relaxed != request and self._fits(relaxed):
                found.append(Remedy(what, value))
        return found

    def _fits(self, request: Placement) -> bool:
        """Tell whether a hole admits the request, or an arena that may be imported is sure to."""
        if any(request.start_in(base, size) >= 0 for base, size in self.holes):
            return True
        sure = round_up(request.sure_size(self.quantum), self.granule)
        importable = min(self.available, round_down(max(self.kva_limit - self.mapped, 0), self.granule))
        return request.possible and request.lo == 0 and request.hi == MAX_ADDRESS and sure <= importable

    def _largest_size(self) -> int:
        """Return the largest size below the request's that fits under the same constraints, 0 if none: by bisection."""
        low, high = 0, self.request.size // self.quantum - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(attrs.evolve(self.request, size=middle * self.quantum)):
                low = middle
            else:
                high = middle - 1
        return low * self.quantum
