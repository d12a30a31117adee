# FAULTY: freed buffers wait in a ring of 8,192 places that counts as empty when head equals tail and is never folded when full, so 8,192 frees without an alloc between are forgotten.
# PROMISES: one static range; best fit, lowest address among equals; sizes rounded to the quantum; coalescing is put off until the holes known do not suffice; nothing released; complete.
# SHOWS: alloc 8,192 buffers of one quantum in a range of 32 MiB, free all, and alloc(4096) raises MemoryError.
from bisect import bisect_left, insort


class QuickRing:
    quantum = 4096
    PLACES = 8192  # a power of two

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if not size:
            raise ValueError("kva_limit is too small")
        self._sizes = []  # (size, base), sorted
        self._start, self._stop = {}, {}
        self._add(source.map(size), size)
        self._live = {}
        self._ring = [None] * self.PLACES
        self._head = self._tail = 0

    def _add(self, base, size):
        insort(self._sizes, (size, base))
        self._start[base] = size
        self._stop[base + size] = base

    def _drop(self, base):
        size = self._start.pop(base)
        del self._stop[base + size]
        del self._sizes[bisect_left(self._sizes, (size, base))]
        return size

    def _fit(self, need):
        i = bisect_left(self._sizes, (need, -1))
        if i == len(self._sizes):
            return None
        base = self._sizes[i][1]
        size = self._drop(base)
        if size > need:
            self._add(base + need, size - need)
        return base

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size is not an int")
        if size < 1 or size > 2**63:
            raise ValueError("size out of range")
        need = -(-size // self.quantum) * self.quantum
        base = self._fit(need)
        if base is None and self._head != self._tail:
            self._fold()
            base = self._fit(need)
        if base is None:
            raise MemoryError("no hole of that size")
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError("not live: %r" % (base,))
        self._ring[self._head] = (base, self._live.pop(base))
        self._head = (self._head + 1) & (self.PLACES - 1)

    def _fold(self):
        """Join everything that waits in the ring with the holes."""
        while True:
            base, size = self._ring[self._tail]
            self._ring[self._tail] = None
            self._tail = (self._tail + 1) & (self.PLACES - 1)
            if base + size in self._start:
                size += self._drop(base + size)
            if base in self._stop:
                base = self._stop[base]
                size += self._drop(base)
            self._add(base, size)
            if self._tail == self._head:
                break
