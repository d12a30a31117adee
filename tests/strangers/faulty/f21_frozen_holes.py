# FAULTY: alloc goes on with the tuple of holes that it took before source.map was called, so a buffer freed from inside map() is lost (its hole is overwritten).
# PROMISES: arenas of arena_size or just large enough; best fit, lowest address among equals, low end; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete; source.map may call free().
# SHOWS: arena of 64 KiB with four buffers of 16 KiB; alloc(64 KiB) from a source whose map() frees the second: a following alloc(16 KiB) does not get the freed place.


class FrozenHoles:
    """Holes are an immutable, sorted tuple of (size, base, arena)."""

    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._limit = kva_limit
        self._arena_size = arena_size
        self._mapped = 0
        self._holes = ()
        self._live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be int")
        if size < 1 or size > 1 << 63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        holes = self._holes
        pick = next((h for h in holes if h[0] >= need), None)
        if pick is None:
            pick = self._arena(need)
            rest = holes
        else:
            rest = tuple(h for h in holes if h is not pick)
        have, base, arena = pick
        if have > need:
            rest = tuple(sorted(rest + ((have - need, base + need, arena),)))
        self._holes = rest
        self._live[base] = (need, arena)
        return base

    def _arena(self, need):
        g = self._source.granule
        want = -(-max(need, self._arena_size) // g) * g
        if self._mapped + want > self._limit:
            want = -(-need // g) * g
        if self._mapped + want > self._limit:
            raise MemoryError("kva_limit reached")
        self._mapped += want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._mapped -= want
            raise
        return want, base, (base, want)

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size, arena = self._live.pop(base)
        rest = []
        for hole in self._holes:
            if hole[2] == arena and hole[1] + hole[0] == base:
                base, size = hole[1], hole[0] + size
            elif hole[2] == arena and base + size == hole[1]:
                size += hole[0]
            else:
                rest.append(hole)
        if (base, size) != arena:
            rest.append((size, base, arena))
            self._holes = tuple(sorted(rest))
            return
        self._holes = tuple(rest)
        self._mapped -= size
        self._source.unmap(base, size)
