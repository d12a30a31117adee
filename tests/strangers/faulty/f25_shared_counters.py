# FAULTY: the dict of counters is a mutable default argument, so all allocators of the class count into the same allocs, frees and refusals.
# PROMISES: one static range; last fit (highest hole that is large enough, its high end); sizes rounded to the quantum; joins both ways at once; nothing released; complete; stats() counts this allocator's calls alone.
# SHOWS: two allocators, one alloc in the first: second.stats()["allocs"] is 1.
from bisect import bisect_left


class LastFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit, counters={"allocs": 0, "frees": 0, "refusals": 0}):
        size = kva_limit - kva_limit % source.granule
        if size <= 0:
            raise ValueError("kva_limit is below one granule")
        self._mapped = size
        self._holes = [(source.map(size), size)]
        self._live = {}
        self._counters = counters

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"not a size: {size!r}")
        if not 1 <= size <= 2**63:
            raise ValueError(f"not a size: {size!r}")
        need = size + -size % self.quantum
        for i in range(len(self._holes) - 1, -1, -1):
            base, have = self._holes[i]
            if have < need:
                continue
            if have == need:
                del self._holes[i]
            else:
                self._holes[i] = (base, have - need)
            base += have - need
            self._live[base] = need
            self._counters["allocs"] += 1
            return base
        self._counters["refusals"] += 1
        raise MemoryError(f"no hole of {need} bytes")

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        self._counters["frees"] += 1
        i = bisect_left(self._holes, (base, 0))
        if i < len(self._holes) and base + size == self._holes[i][0]:
            size += self._holes.pop(i)[1]
        if i and sum(self._holes[i - 1]) == base:
            i -= 1
            base, front = self._holes.pop(i)
            size += front
        self._holes.insert(i, (base, size))

    def stats(self):
        sizes = [size for _, size in self._holes]
        return {
            "mapped": self._mapped,
            "free": sum(sizes),
            "live": self._mapped - sum(sizes),
            "holes": len(sizes),
            "largest_hole": max(sizes, default=0),
            "arenas": 1,
            **self._counters,
        }
