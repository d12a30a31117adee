# FAULTY: free notes that there is something to join only when the hole behind touches, so after frees in ascending order alloc refuses, until stats() or segments() (which always join) has been called.
# PROMISES: one static range; first fit, lowest address; sizes rounded to the quantum; joining is lazy, done by the next alloc, stats() or segments(); nothing released; complete; looking changes no answer.
# SHOWS: range of two quanta: alloc a, alloc b, free a, free b; alloc(8192) raises MemoryError, and the same after a stats() succeeds.
import collections
from bisect import insort

Segment = collections.namedtuple("Segment", "base size kind arena")


class LazyJoins:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if not size:
            raise ValueError("kva_limit is less than a granule")
        self._range = (source.map(size), size)
        self._free = [self._range]
        self._busy = {}
        self._loose = False
        self._counts = collections.Counter(allocs=0, frees=0, refusals=0)

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size must be an int")
        if size < 1 or size > 1 << 63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        if self._loose:
            self._join()
        base = self._fit(need)
        if base is None:
            self._counts["refusals"] += 1
            raise MemoryError("no hole is large enough")
        self._counts["allocs"] += 1
        self._busy[base] = need
        return base

    def _fit(self, need):
        for i, (base, size) in enumerate(self._free):
            if size > need:
                self._free[i] = (base + need, size - need)
                return base
            if size == need:
                del self._free[i]
                return base
        return None

    def free(self, base):
        if type(base) is not int or base not in self._busy:
            raise KeyError(base)
        size = self._busy.pop(base)
        self._counts["frees"] += 1
        insort(self._free, (base, size))
        after = self._free.index((base, size)) + 1
        if after < len(self._free) and self._free[after][0] == base + size:
            self._loose = True

    def _join(self):
        joined = []
        for base, size in self._free:
            if joined and sum(joined[-1]) == base:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((base, size))
        self._free = joined
        self._loose = False

    def segments(self):
        self._join()
        found = [Segment(b, s, "free", self._range[0]) for b, s in self._free]
        found += [Segment(b, s, "busy", self._range[0]) for b, s in self._busy.items()]
        return sorted(found)

    def stats(self):
        self._join()
        sizes = [s for _, s in self._free]
        live = sum(self._busy.values())
        figures = dict(mapped=self._range[1], live=live, free=sum(sizes), arenas=1)
        figures.update(holes=len(sizes), largest_hole=max(sizes, default=0), **self._counts)
        return figures
