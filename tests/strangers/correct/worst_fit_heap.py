# CORRECT: Worst fit over one static range (kva_limit rounded down to the granule, kept for ever): sizes are rounded up to 4096-byte pages, the largest hole is taken (the lowest of equals) and carved from its low end, holes merge with their neighbours when freed, and a request is refused exactly when it exceeds the largest hole; the granule must be a multiple of 4096.
from heapq import heapify, heappop, heappush


class WorstFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule")
        self._by_start = {}     # hole start -> size
        self._by_end = {}       # hole end -> size
        self._heap = []         # (-size, start); an entry may be stale
        self._sizes = {}        # live base -> size
        whole = kva_limit // source.granule * source.granule
        if whole > 0:
            self._add(source.map(whole), whole)

    def _add(self, start, size):
        self._by_start[start] = size
        self._by_end[start + size] = size
        heappush(self._heap, (-size, start))
        if len(self._heap) > 2 * len(self._by_start) + 16:
            self._heap = [(-size, start) for start, size in self._by_start.items()]
            heapify(self._heap)

    def _take(self, start):
        size = self._by_start.pop(start)
        del self._by_end[start + size]
        return size

    def _largest(self):
        """Start of the largest hole, None if there is no hole."""
        heap = self._heap
        while heap and self._by_start.get(heap[0][1]) != -heap[0][0]:
            heappop(heap)
        return heap[0][1] if heap else None

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size is not an int")
        if size <= 0 or size > 1 << 63:
            raise ValueError("size is not in 1..2**63")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        start = self._largest()
        if start is None or self._by_start[start] < need:
            raise MemoryError("largest hole is too small")
        rest = self._take(start) - need
        if rest:
            self._add(start + need, rest)
        self._sizes[start] = need
        return start

    def free(self, base):
        size = self.size_of(base)
        del self._sizes[base]
        if base + size in self._by_start:
            size += self._take(base + size)
        if base in self._by_end:
            base -= self._by_end[base]
            size += self._take(base)
        self._add(base, size)

    def size_of(self, base):
        if isinstance(base, bool) or not isinstance(base, int) or base not in self._sizes:
            raise KeyError(base)
        return self._sizes[base]
