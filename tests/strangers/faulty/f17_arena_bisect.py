# FAULTY: the arenas are kept in order of mapping but searched with bisect, so when the source hands out ranges from high to low, free does not find the arena of a live buffer.
# PROMISES: arenas of arena_size or just large enough; oldest arena with room first, first fit from the low end in it; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete.
# SHOWS: a source that maps downwards, arena_size 64 KiB: alloc 64 KiB twice, and free of the first raises KeyError.
from bisect import bisect_left, bisect_right


class ArenaBisect:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._limit = kva_limit
        self._size = arena_size
        self._used = 0
        self._bases = []  # arena bases
        self._arenas = []  # in step: {"size", "free": [(base, size)], "live": {base: size}}

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + self.quantum - 1) & -self.quantum
        for arena in self._arenas:
            base = self._carve(arena, need)
            if base is not None:
                return base
        return self._carve(self._map(need), need)

    @staticmethod
    def _carve(arena, need):
        free = arena["free"]
        for i, (base, size) in enumerate(free):
            if size >= need:
                if size > need:
                    free[i] = (base + need, size - need)
                else:
                    free.pop(i)
                arena["live"][base] = need
                return base
        return None

    def _map(self, need):
        g = self._source.granule
        want = -(-max(need, self._size) // g) * g
        if self._used + want > self._limit:
            want = -(-need // g) * g
        if self._used + want > self._limit:
            raise MemoryError("limit reached")
        self._used += want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._used -= want
            raise
        arena = {"size": want, "free": [(base, want)], "live": {}}
        self._bases.append(base)
        self._arenas.append(arena)
        return arena

    def _index(self, base):
        if type(base) is not int:
            raise KeyError(base)
        at = bisect_right(self._bases, base) - 1
        if at < 0 or base not in self._arenas[at]["live"]:
            raise KeyError(base)
        return at

    def size_of(self, base):
        return self._arenas[self._index(base)]["live"][base]

    def free(self, base):
        at = self._index(base)
        arena = self._arenas[at]
        size = arena["live"].pop(base)
        if not arena["live"]:
            start = self._bases.pop(at)
            del self._arenas[at]
            self._used -= arena["size"]
            self._source.unmap(start, arena["size"])
            return
        free = arena["free"]
        i = bisect_left(free, (base, 0))
        if i < len(free) and free[i][0] == base + size:
            size += free.pop(i)[1]
        if i and sum(free[i - 1]) == base:
            i -= 1
            base, front = free.pop(i)
            size += front
        free.insert(i, (base, size))
