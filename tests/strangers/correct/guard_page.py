# CORRECT: First fit with a guard page behind every buffer, over arenas: sizes are rounded up to 4096-byte pages and one more page, which no buffer ever occupies, is taken right behind; buffer and guard come off the low end of the lowest hole that holds both; without one an arena of arena_size (as far as the limit leaves it, at least buffer plus guard; just these if the source will not give more) is mapped, else the request is refused; an arena whose last buffer is freed is unmapped; the granule must be a multiple of 4096.
from bisect import bisect_left
from collections import namedtuple

_Buffer = namedtuple("_Buffer", "usable guarded arena")


class GuardedPages:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule has to be a multiple of the page")
        self._source = source
        self._limit = kva_limit
        self._increment = -(-arena_size // source.granule) * source.granule
        self._arenas = {}               # base -> size
        self._starts = []               # the holes by address, three parallel lists
        self._ends = []
        self._owners = []
        self._buffers = {}

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size is not an int in 1..2**63")
        usable = (size + 4095) // 4096 * 4096
        total = usable + 4096
        for i, start in enumerate(self._starts):
            if self._ends[i] - start >= total:
                break
        else:
            i = self._map(total)
        base, arena = self._starts[i], self._owners[i]
        self._starts[i] += total
        if self._starts[i] == self._ends[i]:
            del self._starts[i], self._ends[i], self._owners[i]
        self._buffers[base] = _Buffer(usable, total, arena)
        return base

    def _map(self, total):
        granule = self._source.granule
        least = -(-total // granule) * granule
        room = (self._limit - sum(self._arenas.values())) // granule * granule
        for size in (max(least, min(room, self._increment)), least):
            if size > room:
                continue
            try:
                base = self._source.map(size)
            except MemoryError:
                continue
            self._arenas[base] = size
            return self._add_hole(base, base + size, base)
        raise MemoryError("no room for %d bytes" % total)

    def _add_hole(self, start, end, arena):
        i = bisect_left(self._starts, start)
        self._starts.insert(i, start)
        self._ends.insert(i, end)
        self._owners.insert(i, arena)
        return i

    def free(self, base):
        self.size_of(base)
        _, total, arena = self._buffers.pop(base)
        i = self._add_hole(base, base + total, arena)
        for left in (i, i - 1):         # join with the hole above, then with the one below
            right = left + 1
            if (left >= 0 and right < len(self._starts)
                    and self._ends[left] == self._starts[right]
                    and self._owners[left] == self._owners[right]):
                self._ends[left] = self._ends[right]
                del self._starts[right], self._ends[right], self._owners[right]
                i = left
        if self._ends[i] - self._starts[i] == self._arenas[arena]:
            del self._starts[i], self._ends[i], self._owners[i]
            self._source.unmap(arena, self._arenas.pop(arena))

    def size_of(self, base):
        """Bytes the owner may touch; the guard page is not counted."""
        if type(base) is not int or base not in self._buffers:
            raise ValueError("no live buffer has this base")
        return self._buffers[base].usable
