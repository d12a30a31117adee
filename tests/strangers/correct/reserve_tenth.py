# CORRECT: First fit with a tenth of the limit kept back, over one static range (kva_limit rounded down to the granule): sizes are rounded up to 4096-byte pages and a request is refused whenever it would leave less than a tenth of kva_limit (rounded up to pages) free in total, wherever that lies, or when no hole is large enough; else the lowest large enough hole is carved from its low end; holes merge when freed; the granule must be a multiple of 4096.


class ReservingFirstFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % 4096:
            raise ValueError("bad granule")
        whole = kva_limit // source.granule * source.granule
        self.reserve = -(-kva_limit // (10 * 4096)) * 4096
        self._free_bytes = max(0, whole)
        self._hole_ends = {}            # start -> end
        self._buffers = {}              # base -> end
        if whole > 0:
            base = source.map(whole)
            self._hole_ends[base] = base + whole

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size: %r" % (size,))
        if not 0 < size <= 1 << 63:
            raise ValueError("size: %r" % (size,))
        size = (size + 4095) & ~4095
        if self._free_bytes - size < self.reserve:
            raise MemoryError("only the reserve is left")
        start = min((s for s, e in self._hole_ends.items() if e - s >= size), default=None)
        if start is None:
            raise MemoryError("free space is too fragmented")
        end = self._hole_ends.pop(start)
        if start + size < end:
            self._hole_ends[start + size] = end
        self._buffers[start] = start + size
        self._free_bytes -= size
        return start

    def free(self, base):
        if type(base) is not int or base not in self._buffers:
            raise ValueError("free: %r" % (base,))
        end = self._buffers.pop(base)
        self._free_bytes += end - base
        end = self._hole_ends.pop(end, end)
        for start, stop in self._hole_ends.items():
            if stop == base:
                self._hole_ends[start] = end
                return
        self._hole_ends[base] = end

    def size_of(self, base):
        if type(base) is not int or base not in self._buffers:
            raise ValueError("size_of: %r" % (base,))
        return self._buffers[base] - base

    def stats(self):
        sizes = [e - s for s, e in self._hole_ends.items()]
        live = sum(e - b for b, e in self._buffers.items())
        return {"mapped": live + self._free_bytes, "live": live, "free": self._free_bytes,
                "holes": len(sizes), "largest_hole": max(sizes, default=0)}
