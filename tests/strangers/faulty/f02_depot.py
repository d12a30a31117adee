# FAULTY: when the depot of a size already holds its 15 full magazines, the next full magazine is dropped instead of being given back to the heap.
# PROMISES: one static range; exact-size magazines (last freed first) over a lowest-address first fit; sizes rounded to the quantum; holes join at once when buffers leave the magazines; complete (magazines are drained before a refusal).
# SHOWS: 257 buffers of one size live, all freed in a row: the 257th free loses 16 buffers, and alloc of the whole range is refused.
from bisect import bisect_left

ROUNDS = 16
DEPOT = 15


class DepotHeap:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if not size:
            raise ValueError("kva_limit below the granule")
        self._holes = [(source.map(size), size)]
        self._live = {}
        self._loaded = {}
        self._depot = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError(size)
        if size < 1 or size > 2**63:
            raise ValueError(size)
        need = -(-size // self.quantum) * self.quantum
        mag = self._loaded.get(need)
        if not mag and self._depot.get(need):
            mag = self._loaded[need] = self._depot[need].pop()
        if mag:
            base = mag.pop()
        else:
            base = self._carve(need)
            if base is None:
                self._drain()
                base = self._carve(need)
            if base is None:
                raise MemoryError(f"cannot serve {size}")
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError(f"not a live buffer: {base!r}")
        size = self._live.pop(base)
        mag = self._loaded.setdefault(size, [])
        if len(mag) == ROUNDS:
            depot = self._depot.setdefault(size, [])
            if len(depot) < DEPOT:
                depot.append(mag)
            mag = self._loaded[size] = []
        mag.append(base)

    def reclaim(self):
        """Empty every magazine; a static range is never unmapped."""
        self._drain()
        return 0

    def _drain(self):
        loaded, depot = self._loaded, self._depot
        self._loaded, self._depot = {}, {}
        for size, mag in loaded.items():
            self._spill(size, mag)
        for size, mags in depot.items():
            for mag in mags:
                self._spill(size, mag)

    def _spill(self, size, mag):
        for base in mag:
            self._give(base, size)

    def _carve(self, need):
        for i, (base, size) in enumerate(self._holes):
            if size >= need:
                if size == need:
                    del self._holes[i]
                else:
                    self._holes[i] = (base + need, size - need)
                return base
        return None

    def _give(self, base, size):
        holes = self._holes
        i = bisect_left(holes, (base, 0))
        if i < len(holes) and base + size == holes[i][0]:
            size += holes.pop(i)[1]
        if i and sum(holes[i - 1]) == base:
            i -= 1
            base, size = holes[i][0], holes.pop(i)[1] + size
        holes.insert(i, (base, size))
