# CORRECT: Two-ended over one static range (kva_limit rounded down to the granule): sizes are rounded up to 4096-byte pages; up to 16 pages come off the low end of the lowest large enough hole, more than 16 pages off the high end of the highest large enough hole; holes merge when freed, a request is refused exactly when no hole is large enough, and the range is never given back; the granule must be a multiple of 4096.
from bisect import bisect_left
from collections import namedtuple

_Segment = namedtuple("_Segment", "base size kind arena")


class TwoEnded:
    quantum = 4096
    small = 16 * 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        length = max(0, kva_limit // source.granule * source.granule)
        self._origin = source.map(length) if length else 0
        self._lo = [self._origin] if length else []             # starts of holes
        self._hi = [self._origin + length] if length else []    # ends of the same holes
        self._length = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size is not an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size is not in 1..2**63")
        length = (size + 4095) // 4096 * 4096
        count = len(self._lo)
        low_end = length <= self.small
        for i in range(count) if low_end else reversed(range(count)):
            if self._hi[i] - self._lo[i] >= length:
                break
        else:
            raise MemoryError("no hole of %d bytes" % length)
        if low_end:
            base = self._lo[i]
            self._lo[i] += length
        else:
            base = self._hi[i] = self._hi[i] - length
        if self._lo[i] == self._hi[i]:
            del self._lo[i], self._hi[i]
        self._length[base] = length
        return base

    def free(self, base):
        if type(base) is not int or base not in self._length:
            raise ValueError("%r is not the base of a live buffer" % (base,))
        end = base + self._length.pop(base)
        i = bisect_left(self._lo, base)
        joins_below = i > 0 and self._hi[i - 1] == base
        joins_above = i < len(self._lo) and self._lo[i] == end
        if joins_below and joins_above:
            del self._hi[i - 1], self._lo[i]
        elif joins_below:
            self._hi[i - 1] = end
        elif joins_above:
            self._lo[i] = base
        else:
            self._lo.insert(i, base)
            self._hi.insert(i, end)

    def segments(self):
        busy = (_Segment(b, n, "busy", self._origin) for b, n in self._length.items())
        free = (_Segment(b, e - b, "free", self._origin) for b, e in zip(self._lo, self._hi))
        return sorted([*busy, *free])
