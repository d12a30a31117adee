# FAULTY: resize grows a buffer into the hole behind it and forgets what is left of that hole.
# PROMISES: arenas of arena_size or just large enough; best fit, lowest address among equals, low end; sizes rounded to the quantum; joins both ways inside an arena at once; resize stays in place where it can (always when shrinking), else moves; a refused resize changes nothing; an empty arena is unmapped at once; complete.
# SHOWS: arena of 64 KiB: b = alloc(4096); resize(b, 8192) == b; the other 56 KiB cannot be allocated any more, and after free(b) the arena stays mapped.


class GrowInPlace:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._arenas = {}  # base -> size
        self._holes, self._stops = {}, {}  # base -> size, end -> base
        self._live = {}

    @classmethod
    def _round(cls, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        return -(-size // cls.quantum) * cls.quantum

    def _put(self, base, size):
        if size:
            self._holes[base] = size
            self._stops[base + size] = base

    def _pull(self, base):
        size = self._holes.pop(base)
        del self._stops[base + size]
        return size

    def alloc(self, size):
        need = self._round(size)
        fits = [(have, base) for base, have in self._holes.items() if have >= need]
        base = min(fits)[1] if fits else self._map(need)
        have = self._pull(base)
        self._put(base + need, have - need)
        self._live[base] = need
        return base

    def _map(self, need):
        g = self._source.granule
        size = -(-max(need, self._arena_size) // g) * g
        if self._mapped + size > self._limit:
            size = -(-need // g) * g
        if self._mapped + size > self._limit:
            raise MemoryError("kva_limit")
        self._mapped += size
        try:
            base = self._source.map(size)
        except MemoryError:
            self._mapped -= size
            raise
        self._arenas[base] = size
        self._put(base, size)
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        self._give(base, self._live.pop(base))

    def _give(self, base, size):
        if base + size in self._holes and base + size not in self._arenas:
            size += self._pull(base + size)
        if base in self._stops and base not in self._arenas:
            base = self._stops[base]
            size += self._pull(base)
        if self._arenas.get(base) == size:
            del self._arenas[base]
            self._mapped -= size
            self._source.unmap(base, size)
        else:
            self._put(base, size)

    def resize(self, base, size):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        need, have = self._round(size), self._live[base]
        end = base + have
        if need < have:
            self._live[base] = need
            self._give(base + need, have - need)
        elif need > have:
            behind = 0 if end in self._arenas else self._holes.get(end, 0)
            if have + behind < need:
                fresh = self.alloc(need)
                self.free(base)
                return fresh
            self._pull(end)
            self._live[base] = need
        return base
