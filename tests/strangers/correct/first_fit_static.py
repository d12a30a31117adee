# CORRECT: First fit over one static range (kva_limit rounded down to the granule, mapped when made, never given back): sizes are rounded up to 4096-byte pages, the lowest hole that is large enough is taken and carved from its low end, freed space merges with its neighbours at once, and a request is refused only when no single hole is large enough; the granule must be a multiple of 4096.
from bisect import bisect_left
from typing import NamedTuple


class _Segment(NamedTuple):
    base: int
    size: int
    kind: str
    arena: int


class FirstFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("the source must deal in whole pages")
        span = kva_limit // source.granule * source.granule
        self._base = source.map(span) if span > 0 else 0
        self._holes = [(self._base, self._base + span)] if span > 0 else []
        self._live = {}

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size out of range")
        need = (size + 4095) // 4096 * 4096
        for i, (lo, hi) in enumerate(self._holes):
            if hi - lo >= need:
                self._holes[i : i + 1] = [(lo + need, hi)] if hi - lo > need else []
                self._live[lo] = need
                return lo
        raise MemoryError("no hole of %d bytes" % need)

    def free(self, base):
        size = self.size_of(base)
        del self._live[base]
        lo, hi = base, base + size
        i = j = bisect_left(self._holes, (lo, hi))
        if i and self._holes[i - 1][1] == lo:
            i -= 1
            lo = self._holes[i][0]
        if j < len(self._holes) and self._holes[j][0] == hi:
            hi = self._holes[j][1]
            j += 1
        self._holes[i:j] = [(lo, hi)]

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not the base of a live buffer: %r" % (base,))
        return self._live[base]

    def segments(self):
        busy = [_Segment(b, n, "busy", self._base) for b, n in self._live.items()]
        free = [_Segment(a, b - a, "free", self._base) for a, b in self._holes]
        return sorted(busy + free)
