# CORRECT: Random placement from the system's entropy (the secrets module) over arenas: sizes are rounded up to 4096-byte pages and a request goes, with equal chance, to any page address of any arena from which enough pages are free; if there is none an arena of arena_size (at most what the limit leaves, at least the size; only that if the source refuses more) is mapped and a place in it drawn likewise, else the request is refused; an arena without live buffers is unmapped; the granule must be a multiple of 4096.
import secrets

PAGE = 4096


class _Arena:
    def __init__(self, base, size):
        self.base, self.size = base, size
        self.taken = {}                     # start -> end

    def gaps(self):
        at = self.base
        for start, end in sorted(self.taken.items()):
            if at < start:
                yield at, start
            at = end
        if at < self.base + self.size:
            yield at, self.base + self.size

    def places(self, need):
        """Ranges of the addresses at which `need` bytes fit."""
        for start, end in self.gaps():
            if end - start >= need:
                yield range(start, end - need + 1, PAGE)


class EntropyPlacement:
    quantum = PAGE

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % PAGE:
            raise ValueError("granule must be a multiple of the page size")
        self.source = source
        self.kva_limit = kva_limit
        self.arena_size = arena_size
        self.arenas = []

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + PAGE - 1) // PAGE * PAGE
        where = [(arena, place) for arena in self.arenas for place in arena.places(need)]
        if not where:
            arena = self._map(need)
            where = [(arena, place) for place in arena.places(need)]
        n = secrets.randbelow(sum(len(place) for _, place in where))
        for arena, place in where:
            if n < len(place):
                break
            n -= len(place)
        arena.taken[place[n]] = place[n] + need
        return place[n]

    def _map(self, need):
        g = self.source.granule
        need = -(-need // g) * g
        room = (self.kva_limit - sum(a.size for a in self.arenas)) // g * g
        if need > room:
            raise MemoryError("the limit is reached")
        most = max(need, min(room, -(-self.arena_size // g) * g))
        try:
            arena = _Arena(self.source.map(most), most)
        except MemoryError:
            if most == need:
                raise
            arena = _Arena(self.source.map(need), need)
        self.arenas.append(arena)
        return arena

    def _owner(self, base):
        if type(base) is int:
            for arena in self.arenas:
                if base in arena.taken:
                    return arena
        raise ValueError("not the base of a live buffer: %r" % (base,))

    def free(self, base):
        arena = self._owner(base)
        del arena.taken[base]
        if not arena.taken:
            self.arenas.remove(arena)
            self.source.unmap(arena.base, arena.size)

    def size_of(self, base):
        return self._owner(base).taken[base] - base
