# FAULTY: largest_hole is remembered until the next alloc or free, and a resize in place does not make it forgotten, so stats() shows the old figure.
# PROMISES: one static range; first fit, lowest address; sizes rounded to the quantum; joins both ways at once; resize stays in place where the hole behind suffices (shrinking always does), else moves; nothing released; complete; the figures of stats() are exact; resize counts neither as alloc nor as free.
# SHOWS: range of 1 MiB: b = alloc(4096); stats(); resize(b, 8192) stays in place, and stats()["largest_hole"] is still 1 MiB - 4096.
from bisect import bisect_left


class CachedLargest:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._mapped = size
        self._holes = [(source.map(size), size)]
        self._live = {}
        self._largest = size  # None: not known
        self._n = dict.fromkeys(("allocs", "frees", "refusals"), 0)

    def _round(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        return -(-size // self.quantum) * self.quantum

    def _check(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)

    def _take(self, need):
        for i, (base, size) in enumerate(self._holes):
            if size >= need:
                self._holes[i : i + 1] = [(base + need, size - need)] if size > need else []
                self._live[base] = need
                self._largest = None
                return base
        self._n["refusals"] += 1
        raise MemoryError("no hole is large enough")

    def _give(self, base, size):
        i = bisect_left(self._holes, (base, 0))
        if i < len(self._holes) and self._holes[i][0] == base + size:
            size += self._holes.pop(i)[1]
        if i and sum(self._holes[i - 1]) == base:
            i -= 1
            base, front = self._holes.pop(i)
            size += front
        self._holes.insert(i, (base, size))

    def alloc(self, size):
        base = self._take(self._round(size))
        self._n["allocs"] += 1
        return base

    def free(self, base):
        self._check(base)
        self._give(base, self._live.pop(base))
        self._largest = None
        self._n["frees"] += 1

    def resize(self, base, size):
        self._check(base)
        need = self._round(size)
        have = self._live[base]
        if need <= have:
            if need < have:
                self._give(base + need, have - need)
        else:
            i = bisect_left(self._holes, (base, 0))
            hole = self._holes[i] if i < len(self._holes) else (None, 0)
            if hole[0] != base + have or hole[1] < need - have:
                fresh = self._take(need)
                self._give(base, self._live.pop(base))
                return fresh
            rest = have + hole[1] - need
            self._holes[i : i + 1] = [(base + need, rest)] if rest else []
        self._live[base] = need
        return base

    def stats(self):
        if self._largest is None:
            self._largest = max((s for _, s in self._holes), default=0)
        free = sum(s for _, s in self._holes)
        figures = {"mapped": self._mapped, "live": self._mapped - free, "free": free, "arenas": 1}
        figures.update(self._n, holes=len(self._holes), largest_hole=self._largest)
        return figures
