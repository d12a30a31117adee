# FAULTY: arenas are sized and charged in pages of 4 KiB whatever source.granule is, so with a granule of 64 KiB more gets mapped than is charged and kva_limit is exceeded.
# PROMISES: arenas of arena_size, or just large enough for a larger request or the rest of the limit; worst fit (largest hole, lowest among equals), low end; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete.
# SHOWS: granule 64 KiB, kva_limit 1 MiB, arena_size 4096: seventeen alloc(4096) map seventeen granules, 64 KiB over the limit.


class WorstFit:
    quantum = 4096
    PAGE = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._limit = kva_limit
        self._asize = arena_size
        self._mapped = 0
        self._arenas = []
        self._where = {}

    class _Arena:
        def __init__(self, base, size):
            self.base, self.size = base, size
            self.holes = {base: size}

        def largest(self):
            return max(((s, -b) for b, s in self.holes.items()), default=(0, 0))

        def take(self, base, need):
            size = self.holes.pop(base)
            if size > need:
                self.holes[base + need] = size - need

        def give(self, base, size):
            size += self.holes.pop(base + size, 0)
            for b, s in self.holes.items():
                if b + s == base:
                    self.holes[b] = s + size
                    return
            self.holes[base] = size

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("an int, please")
        if not 1 <= size <= 2**63:
            raise ValueError("size out of range")
        need = -(-size // self.quantum) * self.quantum
        best = max(
            ((a.largest(), a) for a in self._arenas), key=lambda pair: pair[0], default=((0, 0), None)
        )
        if best[0][0] >= need:
            base, arena = -best[0][1], best[1]
        else:
            arena = self._map(need)
            base = arena.base
        arena.take(base, need)
        self._where[base] = (arena, need)
        return base

    def _map(self, need):
        room = self._limit - self._mapped
        want = max(need, self._asize)
        want = -(-want // self.PAGE) * self.PAGE
        if want > room:
            want = -(-need // self.PAGE) * self.PAGE
        if want > room:
            raise MemoryError("kva_limit")
        self._mapped += want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._mapped -= want
            raise
        arena = self._Arena(base, want)
        self._arenas.append(arena)
        return arena

    def free(self, base):
        if type(base) is not int or base not in self._where:
            raise KeyError("not live")
        arena, size = self._where.pop(base)
        arena.give(base, size)
        if arena.holes.get(arena.base) == arena.size:
            self._arenas.remove(arena)
            self._mapped -= arena.size
            self._source.unmap(arena.base, arena.size)

    def size_of(self, base):
        if type(base) is not int or base not in self._where:
            raise KeyError("not live")
        return self._where[base][1]
