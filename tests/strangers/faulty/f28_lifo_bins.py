# FAULTY: segments() sorts the stacks of free buffers in place, so after a look at the segments the buffer freed last is no longer the one that comes back first.
# PROMISES: one static range; a freed buffer stays cached for its exact size and the last freed comes back first; other requests take the low end of the lowest hole; sizes rounded to the quantum; the stacks are emptied and joined before a refusal; nothing released; complete; looking changes no answer.
# SHOWS: alloc a, b, c of one size, free c, free b, free a: alloc gives a; but with a segments() between it gives c.
from bisect import bisect_left
from collections import namedtuple

Segment = namedtuple("Segment", ("base", "size", "kind", "arena"))


class LifoBins:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size < 1:
            raise ValueError("kva_limit below one granule")
        self._base = source.map(size)
        self._holes = [[self._base, size]]
        self._bins = {}
        self._live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        if self._bins.get(need):
            base = self._bins[need].pop()
        else:
            base = self._cut(need)
            if base is None and any(self._bins.values()):
                self._empty_bins()
                base = self._cut(need)
            if base is None:
                raise MemoryError("no room")
        self._live[base] = need
        return base

    def _cut(self, need):
        for i, hole in enumerate(self._holes):
            if hole[1] >= need:
                base = hole[0]
                hole[0] += need
                hole[1] -= need
                if not hole[1]:
                    del self._holes[i]
                return base
        return None

    def _empty_bins(self):
        bins, self._bins = self._bins, {}
        for size, bases in bins.items():
            for base in bases:
                i = bisect_left(self._holes, [base])
                self._holes.insert(i, [base, size])
        i = 1
        while i < len(self._holes):
            front, hole = self._holes[i - 1], self._holes[i]
            if front[0] + front[1] == hole[0]:
                front[1] += hole[1]
                del self._holes[i]
            else:
                i += 1

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        self._bins.setdefault(size, []).append(base)

    def segments(self):
        """Every segment of the range in address order."""
        found = [Segment(b, s, "busy", self._base) for b, s in self._live.items()]
        found += [Segment(b, s, "free", self._base) for b, s in self._holes]
        for size, bases in self._bins.items():
            bases.sort()
            found += [Segment(b, size, "cached", self._base) for b in bases]
        found.sort()
        return found
