# FAULTY: reclaim() unmaps every arena without live buffers but empties only the loaded magazine of each cache, not the previous one, whose buffers are then handed out though unmapped.
# PROMISES: arenas of arena_size or just large enough; a cache for each size with a loaded and a previous magazine of 8; below it first fit in order of mapping, lowest address; sizes rounded to the quantum; joins inside an arena once out of the caches; arenas without live buffers are kept until reclaim() or until the limit presses; complete.
# SHOWS: nine buffers of 4096 live, all freed, reclaim(): it unmaps the arena, and a following alloc(4096) gives a base outside every mapped range.
from bisect import insort


class _Arena:
    def __init__(self, base, size):
        self.base, self.size, self.live = base, size, 0
        self.holes = [(base, base + size)]


class TwoMagazines:
    quantum = 4096
    ROUNDS = 8

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._arenas = []
        self._loaded, self._previous = {}, {}  # size -> [(base, arena)]
        self._live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        if not self._loaded.get(need):
            self._loaded[need], self._previous[need] = self._previous.get(need, []), []
        if self._loaded[need]:
            base, arena = self._loaded[need].pop()
        else:
            base, arena = self._carve(need)
        arena.live += 1
        self._live[base] = (arena, need)
        return base

    def _carve(self, need):
        found = self._first(need)
        if found is None and not self._map(need):
            self.reclaim()
            found = self._first(need)
            if found is None and not self._map(need):
                raise MemoryError("no room")
        return found or self._first(need)

    def _first(self, need):
        for arena in self._arenas:
            for i, (start, stop) in enumerate(arena.holes):
                if stop - start >= need:
                    arena.holes[i : i + 1] = [(start + need, stop)] if stop - start > need else []
                    return start, arena
        return None

    def _map(self, need):
        g = self._source.granule
        for size in (max(need, self._arena_size), need):
            size = -(-size // g) * g
            if self._mapped + size <= self._limit:
                self._mapped += size
                try:
                    base = self._source.map(size)
                except MemoryError:
                    self._mapped -= size
                    continue
                self._arenas.append(_Arena(base, size))
                return True
        return False

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        arena, size = self._live.pop(base)
        arena.live -= 1
        loaded = self._loaded.setdefault(size, [])
        if len(loaded) == self.ROUNDS:
            self._spill(size, self._previous.get(size, []))
            self._previous[size] = loaded
            loaded = self._loaded[size] = []
        loaded.append((base, arena))

    def _spill(self, size, magazine):
        while magazine:
            base, arena = magazine.pop()
            insort(arena.holes, (base, base + size))
            joined = []
            for start, stop in arena.holes:
                if joined and joined[-1][1] == start:
                    start = joined.pop()[0]
                joined.append((start, stop))
            arena.holes = joined

    def reclaim(self):
        for size, magazine in self._loaded.items():
            self._spill(size, magazine)
        idle = [arena for arena in self._arenas if not arena.live]
        self._arenas = [arena for arena in self._arenas if arena.live]
        for arena in idle:
            self._mapped -= arena.size
            self._source.unmap(arena.base, arena.size)
        return sum(arena.size for arena in idle)
