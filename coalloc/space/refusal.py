"""The explanation of a refusal: for every hole the rule that excludes it, and the smallest changes that would succeed.

The data is frozen at the refusal.  The explanation is worked out only on request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from coalloc.contract import Geometry
from coalloc.errors import Change, ExhaustionError, Explanation, HoleVerdict, KvaLimitError, NoSpaceError, Remedy
from coalloc.space.placement import Placement, rounded
from coalloc.units import MAX_ADDRESS, round_down, round_up

__all__ = ["Refusal"]


@attrs.frozen
class Refusal:
    """The state of a space at the moment it refused.

    Args:
        request: The request that was refused.
        holes: Base and size of every hole.
        mapped: Bytes mapped.
        kva_limit: The most bytes that may be mapped.
        granule: The multiple to which the size of an imported arena is rounded.
        available: The largest size that the source would have mapped.
        geometry: The geometry, by which sizes are rounded.
        sure_size: Returns the bytes of an arena that would be imported for a request and is sure to admit it.
    """

    request: Placement
    holes: tuple[tuple[int, int], ...]
    mapped: int
    kva_limit: int
    granule: int
    available: int
    geometry: Geometry = Geometry.ANY
    sure_size: Callable[[Placement], int] = lambda request: request.sure_size

    def error(self) -> ExhaustionError:
        """Return the exception to raise: KvaLimitError if the limit forbade an import that might help, else NoSpaceError."""
        limited = self.request.possible and round_up(self.request.size, self.granule) > self._headroom
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

        Complexity: O(h) for h holes, times the 64 bits of an address for each constraint for which a remedy is sought.
        """
        need = round_up(self.request.size, self.granule)
        if not self.request.possible:
            verdict = "no arena could admit the request: its constraints contradict each other"
        elif need > self._headroom:
            verdict = f"needs {need} bytes, and kva_limit leaves {self._headroom}"
        elif need > self.available:
            verdict = f"needs {need} bytes, and the source offers {self.available}"
        else:
            verdict = "the arena that the source offered does not admit the request"
        return Explanation(
            self.request.size,
            tuple(HoleVerdict(base, size, self.request.rule_against(base, size)) for base, size in sorted(self.holes)),
            verdict,
            tuple(self._remedies()),
        )

    @property
    def _headroom(self) -> int:
        return max(self.kva_limit - self.mapped, 0)

    def _remedies(self) -> Iterator[Remedy]:
        request, quantum = self.request, self.request.quantum

        def fits_smaller(n: int) -> bool:
            return self._fits(attrs.evolve(request, size=rounded(n * quantum, quantum, self.geometry)))

        smaller = _last(fits_smaller, request.size // quantum - 1)
        if smaller:
            yield Remedy(Change.SIZE, smaller * quantum)
        sure = round_up(self.sure_size(request), self.granule)
        unbounded = request.lo == 0 and request.hi == MAX_ADDRESS
        if request.possible and unbounded and self._headroom < sure <= self.available:
            yield Remedy(Change.KVA_LIMIT, self.mapped + sure)
        align = request.align // 2
        while align >= max(quantum, request.phase + 1):
            if self._fits(attrs.evolve(request, align=align)):
                yield Remedy(Change.ALIGN, align)
                break
            align //= 2
        if request.nocross:
            wider = [1 << bit for bit in range(request.nocross.bit_length(), 64)]
            for nocross in (*wider, 0):
                if self._fits(attrs.evolve(request, nocross=nocross)):
                    yield Remedy(Change.NOCROSS, nocross)
                    break
        if request.lo and self._fits(attrs.evolve(request, lo=0)):
            yield Remedy(Change.LO, _last(lambda lo: self._fits(attrs.evolve(request, lo=lo)), request.lo - 1))
        if request.hi < MAX_ADDRESS and self._fits(attrs.evolve(request, hi=MAX_ADDRESS)):
            lower = _last(lambda n: self._fits(attrs.evolve(request, hi=MAX_ADDRESS - n)), MAX_ADDRESS - request.hi - 1)
            yield Remedy(Change.HI, MAX_ADDRESS - lower)

    def _fits(self, request: Placement) -> bool:
        """Tell whether a hole admits the request, or an importable arena is sure to admit it."""
        if any(request.start_in(base, size) >= 0 for base, size in self.holes):
            return True
        sure = round_up(self.sure_size(request), self.granule)
        importable = min(self.available, round_down(self._headroom, self.granule))
        return request.possible and request.lo == 0 and request.hi == MAX_ADDRESS and sure <= importable


def _last(holds: Callable[[int], bool], high: int) -> int:
    """Return the largest number in 1 .. ``high`` for which ``holds`` is true, or 0; it must be true up to one number only."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
