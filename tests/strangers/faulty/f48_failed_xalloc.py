# FAULTY: when the arena that xalloc has mapped turns out not to meet lo and hi, xalloc raises MemoryError and leaves the empty arena mapped.
# PROMISES: arenas of arena_size or just large enough (with room to align); lowest address over all arenas that meets every constraint; align a power of two or 0, hi inclusive; sizes, align, phase in quanta; joins both ways inside an arena at once; an empty arena is unmapped at once, and a refused call leaves nothing mapped; complete, but xalloc maps at most one new arena.
# SHOWS: a source whose ranges lie above 1 MiB: xalloc(4096, hi=0xFFFF) raises MemoryError, and 1 MiB stays mapped with nothing live.
from bisect import insort


class FailedXalloc:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._holes = []  # (start, stop, (arena base, arena size))
        self._live = {}

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0, lo=0, hi=2**64 - 1):
        if any(isinstance(v, bool) or not isinstance(v, int) for v in (size, align, phase, lo, hi)):
            raise TypeError("ints only")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if align < 0 or align & (align - 1):
            raise ValueError("align must be 0 or a power of two")
        align = max(align, self.quantum)
        if not 0 <= phase < align or phase % self.quantum:
            raise ValueError("phase must be below align, in quanta")
        if not 0 <= lo <= hi < 2**64:
            raise ValueError("lo and hi must be addresses, in order")
        need = -(-size // self.quantum) * self.quantum
        base = self._place(self._holes, need, align, phase, lo, hi)
        if base is None:
            hole = self._map(need + align - self.quantum)
            base = self._place([hole], need, align, phase, lo, hi)
            if base is None:
                raise MemoryError("the new arena does not meet the constraints")
        return base

    def _place(self, holes, need, align, phase, lo, hi):
        for hole in holes:
            start, stop, arena = hole
            base = max(start, lo)
            base += (phase - base) % align
            if base + need <= stop and base + need - 1 <= hi:
                self._holes.remove(hole)
                self._put(start, base, arena)
                self._put(base + need, stop, arena)
                self._live[base] = (base + need, arena)
                return base
        return None

    def _put(self, start, stop, arena):
        if (start, stop - start) == arena:
            self._release(arena)
        elif start < stop:
            insort(self._holes, (start, stop, arena))

    def _map(self, least):
        g = self._source.granule
        for size in (max(least, self._arena_size), least):
            size = -(-size // g) * g
            if self._mapped + size <= self._limit:
                break
        else:
            raise MemoryError("kva_limit")
        self._mapped += size
        try:
            base = self._source.map(size)
        except MemoryError:
            self._mapped -= size
            raise
        hole = (base, base + size, (base, size))
        insort(self._holes, hole)
        return hole

    def _release(self, arena):
        self._mapped -= arena[1]
        self._source.unmap(*arena)

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        stop, arena = self._live.pop(base)
        for hole in [h for h in self._holes if h[2] == arena]:
            if hole[1] == base:
                base = hole[0]
                self._holes.remove(hole)
            elif hole[0] == stop:
                stop = hole[1]
                self._holes.remove(hole)
        self._put(base, stop, arena)
