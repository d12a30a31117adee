# FAULTY: alloc adds to the live figure before it looks for room and takes it back where kva_limit refuses, but not where source.map raises, so stats().live is too high after such a refusal.
# PROMISES: arenas of arena_size or just large enough; best fit, lowest address among equals, low end; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete while the source serves; a refused call changes no figure but refusals.
# SHOWS: a source whose first map raises: alloc(4096) is refused, and stats().live is 4096.
from types import SimpleNamespace


class LiveFigure:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas, self._holes, self._buffers = {}, {}, {}
        self._mapped = self._live = self._allocs = self._frees = self._refusals = 0

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        self._live += need
        fits = [(have, base) for base, (have, _) in self._holes.items() if have >= need]
        if fits:
            base = min(fits)[1]
        else:
            want = self._arena_bytes(need)
            if want is None:
                self._live -= need
                self._refusals += 1
                raise MemoryError("kva_limit reached")
            base = self._map(want)
        have, arena = self._holes.pop(base)
        if have > need:
            self._holes[base + need] = (have - need, arena)
        self._buffers[base] = (need, arena)
        self._allocs += 1
        return base

    def _arena_bytes(self, need):
        g = self._source.granule
        for want in (max(need, self._arena_size), need):
            want = -(-want // g) * g
            if self._mapped + want <= self._limit:
                return want
        return None

    def _map(self, want):
        self._mapped += want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._mapped -= want
            self._refusals += 1
            raise
        self._arenas[base] = want
        self._holes[base] = (want, base)
        return base

    def free(self, base):
        if type(base) is not int or base not in self._buffers:
            raise KeyError(base)
        size, arena = self._buffers.pop(base)
        self._live -= size
        self._frees += 1
        if self._holes.get(base + size, (0, None))[1] == arena:
            size += self._holes.pop(base + size)[0]
        for start, (have, owner) in self._holes.items():
            if owner == arena and start + have == base:
                del self._holes[start]
                base, size = start, have + size
                break
        if size == self._arenas[arena]:
            del self._arenas[arena]
            self._mapped -= size
            self._source.unmap(base, size)
        else:
            self._holes[base] = (size, arena)

    def stats(self):
        sizes = [have for have, _ in self._holes.values()]
        return SimpleNamespace(
            mapped=self._mapped,
            live=self._live,
            free=sum(sizes),
            largest_hole=max(sizes, default=0),
            holes=len(sizes),
            arenas=len(self._arenas),
            allocs=self._allocs,
            frees=self._frees,
            refusals=self._refusals,
        )
