# FAULTY: before a refusal only the cache of the requested size is drained, so a request is refused although the cached buffers of other sizes would join to a hole that fits.
# PROMISES: one static range; exact-size caches (first freed, first reused) over best fit, lowest among equals; sizes rounded to the quantum; joins both ways once out of the caches; all caches are drained before a refusal; nothing released; complete.
# SHOWS: range of 64 KiB filled with sixteen alloc(4096), all freed; alloc(8192) raises MemoryError.
from collections import deque


class DrainOwn:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        base = source.map(size)
        self._hole, self._end = {base: size}, {base + size: base}
        self._cache = {}
        self._live = {}

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        cache = self._cache.setdefault(need, deque())
        if cache:
            base = cache.popleft()
        else:
            base = self._best(need)
            if base is None:
                self._drain(need)
                base = self._best(need)
            if base is None:
                raise MemoryError(f"no room for {need} bytes")
        self._live[base] = need
        return base

    def _best(self, need):
        fits = [(have, base) for base, have in self._hole.items() if have >= need]
        if not fits:
            return None
        have, base = min(fits)
        del self._hole[base], self._end[base + have]
        if have > need:
            self._hole[base + need] = have - need
            self._end[base + have] = base + need
        return base

    def _drain(self, size):
        cache = self._cache[size]
        while cache:
            self._join(cache.popleft(), size)

    def _join(self, base, size):
        if base + size in self._hole:
            behind = self._hole.pop(base + size)
            del self._end[base + size + behind]
            size += behind
        if base in self._end:
            front = self._end.pop(base)
            size += self._hole.pop(front)
            base = front
        self._hole[base] = size
        self._end[base + size] = base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        self._cache.setdefault(size, deque()).append(base)

    def reclaim(self):
        for size in self._cache:
            self._drain(size)
        return 0
