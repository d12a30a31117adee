# FAULTY: resize compares the new end masked to 64 bits, so above 2**63 a growth to 2**63 bytes wraps and is believed to fit in place.
# PROMISES: arenas of arena_size or just large enough; best fit, lowest address among equals; sizes rounded to the quantum; joins both ways inside an arena at once; resize stays in place where it fits (shrinking always does), else moves, and changes nothing when it is refused; an empty arena is unmapped at once; complete.
# SHOWS: a source with ranges above 2**63: b = alloc(4096); resize(b, 2**63) returns b instead of raising MemoryError.

M64 = (1 << 64) - 1


class BestResize:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._asize = source, kva_limit, arena_size
        self._mapped = 0
        self._arenas = {}  # base -> size
        self._hole = {}  # base -> end
        self._ends = {}  # end -> base
        self._live = {}  # base -> end

    def _need(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size")
        if not 1 <= size <= 2**63:
            raise ValueError("size")
        return (size + self.quantum - 1) // self.quantum * self.quantum

    def _check(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)

    def _add(self, base, end):
        if base < end:
            self._hole[base] = end
            self._ends[end] = base

    def _del(self, base):
        end = self._hole.pop(base)
        del self._ends[end]
        return end

    def alloc(self, size):
        need = self._need(size)
        fits = [(end - base, base) for base, end in self._hole.items() if end - base >= need]
        base = min(fits)[1] if fits else self._grow(need)
        end = self._del(base)
        self._add(base + need, end)
        self._live[base] = base + need
        return base

    def _grow(self, need):
        for want in (max(need, self._asize), need):
            want += -want % self._source.granule
            if self._mapped + want <= self._limit:
                break
        else:
            raise MemoryError("kva_limit")
        self._mapped += want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._mapped -= want
            raise
        self._arenas[base] = want
        self._add(base, base + want)
        return base

    def free(self, base):
        self._check(base)
        self._give(base, self._live.pop(base))

    def _give(self, base, end):
        if end in self._hole and end not in self._arenas:
            end = self._del(end)
        if base in self._ends and base not in self._arenas:
            base = self._ends[base]
            self._del(base)
        if self._arenas.get(base) == end - base:
            del self._arenas[base]
            self._mapped -= end - base
            self._source.unmap(base, end - base)
        else:
            self._add(base, end)

    def size_of(self, base):
        self._check(base)
        return self._live[base] - base

    def resize(self, base, size):
        self._check(base)
        need = self._need(size)
        end = self._live[base]
        room = end
        if end not in self._arenas:
            room = self._hole.get(end, end)
        if (base + need) & M64 <= room:
            stop = base + need
            if stop < end:
                self._live[base] = stop
                self._give(stop, end)
            elif stop > end:
                self._del(end)
                self._add(stop, room)
                self._live[base] = stop
            return base
        fresh = self.alloc(size)
        self.free(base)
        return fresh
