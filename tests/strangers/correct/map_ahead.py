# CORRECT: Best fit over arenas with one mapped ahead of need: sizes are rounded up to 4096-byte pages and come off the low end of the smallest large enough hole (lowest of equals), or else of a new arena (arena_size, rounded up to the granule, cut to what the limit leaves, at least the size; only that if the source refuses more), or are refused; after each request served, if the free bytes are fewer than half of arena_size, one further arena of arena_size is mapped if the limit and the source allow it; one idle arena at most outlives a free, the one with the lowest address, and none once nothing is live; mapped arenas are not given up to make room for a request under the limit; the granule must be a multiple of 4096.
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Arena:
    base: int
    size: int
    holes: dict = field(default_factory=dict)       # start -> size

    @property
    def idle(self):
        return self.holes.get(self.base) == self.size


class AheadMapper:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        self.source = source
        self.kva_limit = kva_limit
        self.step = max(1, -(-arena_size // source.granule)) * source.granule
        self.arenas = []
        self.live = {}          # base -> (size, arena)

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be int")
        if not 0 < size <= 2**63:
            raise ValueError("size out of range")
        need = -(-size // 4096) * 4096
        fits = [(have, start, arena) for arena in self.arenas
                for start, have in arena.holes.items() if have >= need]
        if fits:
            have, start, arena = min(fits, key=lambda f: f[:2])
        else:
            arena = self._grow(need)
            have, start = arena.size, arena.base
        del arena.holes[start]
        if have > need:
            arena.holes[start + need] = have - need
        self.live[start] = need, arena
        self._look_ahead()
        return start

    def _room(self):
        room = self.kva_limit - sum(a.size for a in self.arenas)
        return room // self.source.granule * self.source.granule

    def _map(self, size):
        base = self.source.map(size)
        arena = _Arena(base, size, {base: size})
        self.arenas.append(arena)
        return arena

    def _grow(self, need):
        least = -(-need // self.source.granule) * self.source.granule
        room = self._room()
        if least > room:
            raise MemoryError("the limit leaves %d bytes" % room)
        best = max(least, min(room, self.step))
        if best > least:
            try:
                return self._map(best)
            except MemoryError:
                pass
        return self._map(least)

    def _look_ahead(self):
        free = sum(sum(a.holes.values()) for a in self.arenas)
        if 2 * free < self.step <= self._room():
            try:
                self._map(self.step)
            except MemoryError:
                pass            # not needed yet

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise KeyError(base)
        size, arena = self.live.pop(base)
        size += arena.holes.pop(base + size, 0)
        below = next((s for s, n in arena.holes.items() if s + n == base), None)
        if below is not None:
            size += arena.holes.pop(below)
            base = below
        arena.holes[base] = size
        idle = sorted((a for a in self.arenas if a.idle), key=lambda a: a.base)
        for surplus in idle[1:] if self.live else idle:
            self.arenas.remove(surplus)
            self.source.unmap(surplus.base, surplus.size)
