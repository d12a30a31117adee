# CORRECT: Seeded random placement over one static range (kva_limit rounded down to the granule): sizes are rounded up to 4096-byte pages and a request goes, with equal chance, to any page address from which enough pages are free, drawn from random.Random(seed), so that two allocators with the same seed, range and calls place alike; a request is refused exactly when no hole is large enough, which draws nothing; holes merge when freed; the granule must be a multiple of 4096.
import random
from bisect import bisect_left, insort


class RandomPlacement:
    quantum = 4096

    def __init__(self, source, *, kva_limit, seed=20240229):
        if source.granule % self.quantum:
            raise ValueError("granule is not a multiple of the page size")
        self._rng = random.Random(seed)
        self._holes = []            # (first page, page behind), sorted
        self._live = {}             # first page -> pages
        span = kva_limit // source.granule * source.granule
        if span > 0:
            base = source.map(span)
            self._holes.append((base // 4096, (base + span) // 4096))

    def _pick(self, pages):
        """A hole and an equally distributed first page in it."""
        choices = sum(max(0, hi - lo - pages + 1) for lo, hi in self._holes)
        if not choices:
            raise MemoryError("no hole of %d pages" % pages)
        n = self._rng.randrange(choices)
        for lo, hi in self._holes:
            here = max(0, hi - lo - pages + 1)
            if n < here:
                return (lo, hi), lo + n
            n -= here

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size must be an int in 1..2**63")
        pages = (size + 4095) // 4096
        (lo, hi), first = self._pick(pages)
        self._holes.remove((lo, hi))
        if lo < first:
            insort(self._holes, (lo, first))
        if first + pages < hi:
            insort(self._holes, (first + pages, hi))
        self._live[first] = pages
        return first * 4096

    def free(self, base):
        if type(base) is not int or base % 4096 or base // 4096 not in self._live:
            raise KeyError(base)
        lo = base // 4096
        hi = lo + self._live.pop(lo)
        i = bisect_left(self._holes, (lo, hi))
        if i < len(self._holes) and self._holes[i][0] == hi:
            hi = self._holes.pop(i)[1]
        if i and self._holes[i - 1][1] == lo:
            lo = self._holes.pop(i - 1)[0]
        insort(self._holes, (lo, hi))
