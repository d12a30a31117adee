# FAULTY: an arena is never made smaller than arena_size, so with the default of 1 MiB the last part of a limit (or a whole limit below 1 MiB) cannot be used.
# PROMISES: arenas of arena_size, or just large enough where the request is larger or kva_limit leaves less; first fit in order of mapping, then from the high end of the lowest hole; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete.
# SHOWS: kva_limit=512 * 1024 and the default arena_size: alloc(4096) raises MemoryError.


class WholeArenas:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._limit = kva_limit
        g = source.granule
        self._arena_size = (arena_size + g - 1) // g * g
        self._mapped = 0
        self._arenas = {}  # (base, size) -> sorted list of [start, stop]
        self._busy = {}

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size")
        if not 1 <= size <= 2**63:
            raise ValueError("size")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        for arena, holes in self._arenas.items():
            for hole in holes:
                if hole[1] - hole[0] >= need:
                    return self._from_top(arena, hole, need)
        arena = self._map(need)
        return self._from_top(arena, self._arenas[arena][0], need)

    def _from_top(self, arena, hole, need):
        hole[1] -= need
        base = hole[1]
        if hole[0] == hole[1]:
            self._arenas[arena].remove(hole)
        self._busy[base] = (arena, need)
        return base

    def _map(self, need):
        g = self._source.granule
        size = max(self._arena_size, (need + g - 1) // g * g)
        if size > self._limit - self._mapped:
            raise MemoryError("kva_limit would be exceeded")
        self._mapped += size
        try:
            base = self._source.map(size)
        except MemoryError:
            self._mapped -= size
            raise
        self._arenas[base, size] = [[base, base + size]]
        return base, size

    def free(self, base):
        if type(base) is not int or base not in self._busy:
            raise ValueError("not busy")
        arena, size = self._busy.pop(base)
        holes = self._arenas[arena]
        holes.append([base, base + size])
        holes.sort()
        i = holes.index([base, base + size])
        if i + 1 < len(holes) and holes[i][1] == holes[i + 1][0]:
            holes[i][1] = holes.pop(i + 1)[1]
        if i and holes[i - 1][1] == holes[i][0]:
            holes[i - 1][1] = holes.pop(i)[1]
        if holes[0] == [arena[0], sum(arena)]:
            del self._arenas[arena]
            self._mapped -= arena[1]
            self._source.unmap(*arena)

    def size_of(self, base):
        if type(base) is not int or base not in self._busy:
            raise ValueError("not busy")
        return self._busy[base][1]
