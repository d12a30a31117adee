# CORRECT: First fit with a quantum of 65536 bytes over one static range (kva_limit rounded down to the granule, which may well be 4096): only the part between the first and the last multiple of 65536 in the range is used, sizes are rounded up to 65536, every address is a multiple of 65536, the lowest large enough hole is carved from its low end, holes merge when freed, and a request is refused exactly when no hole is large enough.
from bisect import bisect


class CoarsePages:
    quantum = 1 << 16

    def __init__(self, source, *, kva_limit):
        span = kva_limit // source.granule * source.granule
        base = source.map(span) if span > 0 else 0
        first = -(-base // self.quantum)            # addresses are kept in units of the quantum
        last = (base + max(0, span)) // self.quantum
        self._edges = [first, last] if first < last else []     # start, end, start, end, ... of holes
        self._units = {}

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 1 << 63:
            raise ValueError("size must be an int between 1 and 2**63")
        units = (size + self.quantum - 1) >> 16
        edges = self._edges
        for i in range(0, len(edges), 2):
            start = edges[i]
            if edges[i + 1] - start >= units:
                edges[i] += units
                if edges[i] == edges[i + 1]:
                    del edges[i:i + 2]
                self._units[start] = units
                return start << 16
        raise MemoryError("no hole of %d units" % units)

    def _unit(self, base):
        if isinstance(base, bool) or not isinstance(base, int):
            raise ValueError("an address is an int")
        if base % self.quantum or base >> 16 not in self._units:
            raise ValueError("no live buffer at this address")
        return base >> 16

    def free(self, base):
        start = self._unit(base)
        end = start + self._units.pop(start)
        edges = self._edges
        i = bisect(edges, start)        # even: a live buffer lies between holes
        lo, hi, new = i, i, [start, end]
        if lo and edges[lo - 1] == start:
            lo -= 1
            new = new[1:]
        if hi < len(edges) and edges[hi] == end:
            hi += 1
            new = new[:-1]
        edges[lo:hi] = new

    def size_of(self, base):
        return self._units[self._unit(base)] << 16
