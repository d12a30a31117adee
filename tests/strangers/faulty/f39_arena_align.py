# FAULTY: xalloc aligns the offset in the arena and not the address, so an arena that does not itself begin on the alignment gives wrongly aligned buffers.
# PROMISES: arenas of arena_size or just large enough (with room to align); xalloc and alloc take the first arena in order of mapping, the lowest place in it that meets align and phase; sizes, align and phase in quanta; joins both ways inside an arena at once; an empty arena is unmapped at once; complete for alloc, and for xalloc as far as arenas with the room to align can be mapped.
# SHOWS: a source whose first range begins at 0x11000: xalloc(4096, align=65536) returns 0x11000.
from bisect import bisect_left


class ArenaAlign:
    quantum = 4096

    class _Arena:
        __slots__ = ("base", "size", "holes")

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._arenas = []
        self._live = {}

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0):
        for value in (size, align, phase):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError("ints only")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if align < 0 or align & (align - 1):
            raise ValueError("align must be 0 or a power of two")
        align = max(align, self.quantum)
        if phase % self.quantum or not 0 <= phase < align:
            raise ValueError("phase must be below align, in quanta")
        need = -(-size // self.quantum) * self.quantum
        for arena in self._arenas:
            base = self._place(arena, need, align, phase)
            if base is not None:
                return base
        arena = self._map(need, align - self.quantum)
        return self._place(arena, need, align, phase)

    def _place(self, arena, need, align, phase):
        for i, (start, stop) in enumerate(arena.holes):
            at = start + (phase - start) % align
            if at + need <= stop:
                arena.holes[i : i + 1] = [
                    hole for hole in ((start, at), (at + need, stop)) if hole[0] < hole[1]
                ]
                base = arena.base + at
                self._live[base] = (arena, at, need)
                return base
        return None

    def _map(self, need, slack):
        g = self._source.granule
        for size in (max(need + slack, self._arena_size), need + slack):
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
        arena = self._Arena()
        arena.base, arena.size, arena.holes = base, size, [(0, size)]
        self._arenas.append(arena)
        return arena

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer")
        arena, at, need = self._live.pop(base)
        stop = at + need
        i = bisect_left(arena.holes, (at, 0))
        if i < len(arena.holes) and arena.holes[i][0] == stop:
            stop = arena.holes.pop(i)[1]
        if i and arena.holes[i - 1][1] == at:
            i -= 1
            at = arena.holes.pop(i)[0]
        arena.holes.insert(i, (at, stop))
        if (at, stop) == (0, arena.size):
            self._arenas.remove(arena)
            self._mapped -= arena.size
            self._source.unmap(arena.base, arena.size)
