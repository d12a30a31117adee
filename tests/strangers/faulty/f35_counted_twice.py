# FAULTY: a free is counted when the buffer enters its magazine and once more when the magazine overflows and the buffer goes on to the heap, so stats()["frees"] exceeds the calls.
# PROMISES: one static range; exact-size magazines of 32 (last freed first), half of which goes to the heap on overflow; best fit below, lowest among equals; sizes rounded to the quantum; joins both ways once out of the magazine; magazines are drained before a refusal; nothing released; complete; allocs, frees and refusals count calls; free includes what is cached.
# SHOWS: 33 buffers of one size live, all freed: stats()["frees"] is 49.


class MagazineFigures:
    quantum = 4096
    ROUNDS = 32

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        base = source.map(size)
        self._mapped = size
        self._hole, self._end = {base: size}, {base + size: base}
        self._mags = {}
        self._live = {}
        self._allocs = self._frees = self._refusals = 0

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        mag = self._mags.get(need)
        if mag:
            base = mag.pop()
        else:
            base = self._best(need)
            if base is None and any(self._mags.values()):
                self.reclaim()
                base = self._best(need)
            if base is None:
                self._refusals += 1
                raise MemoryError("no hole is large enough")
        self._allocs += 1
        self._live[base] = need
        return base

    def _best(self, need):
        fits = [(size, base) for base, size in self._hole.items() if size >= need]
        if not fits:
            return None
        size, base = min(fits)
        del self._hole[base], self._end[base + size]
        if size > need:
            self._hole[base + need] = size - need
            self._end[base + size] = base + need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        self._frees += 1
        mag = self._mags.setdefault(size, [])
        mag.append(base)
        if len(mag) > self.ROUNDS:
            for old in mag[: self.ROUNDS // 2]:
                self._frees += 1
                self._release(old, size)
            del mag[: self.ROUNDS // 2]

    def _release(self, base, size):
        if base + size in self._hole:
            more = self._hole.pop(base + size)
            del self._end[base + size + more]
            size += more
        if base in self._end:
            front = self._end.pop(base)
            size += self._hole.pop(front)
            base = front
        self._hole[base] = size
        self._end[base + size] = base

    def reclaim(self):
        """Give every cached buffer to the heap; the static range stays mapped."""
        mags, self._mags = self._mags, {}
        for size, mag in mags.items():
            for base in mag:
                self._release(base, size)
        return 0

    def stats(self):
        live = sum(self._live.values())
        return {
            "mapped": self._mapped,
            "live": live,
            "free": self._mapped - live,
            "holes": len(self._hole),
            "largest_hole": max(self._hole.values(), default=0),
            "arenas": 1,
            "allocs": self._allocs,
            "frees": self._frees,
            "refusals": self._refusals,
        }
