# CORRECT: Next fit over arenas: sizes are rounded up to 4096-byte pages, the search takes the first large enough hole that starts at or above the end of the buffer handed out last and goes on from the lowest address when there is none, the hole is carved from its low end; only when no hole fits is an arena mapped (arena_size where the limit and the source allow it, otherwise just as large as needed), and an arena is unmapped as soon as nothing in it is live; the granule must be a multiple of 4096.
from bisect import bisect_left
from dataclasses import dataclass


@dataclass
class _Hole:
    lo: int
    hi: int
    arena: int


class NextFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("odd granule")
        self._src, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}       # base -> [size, live buffers]
        self._mapped = 0
        self._holes = []        # by address
        self._live = {}         # base -> (size, arena)
        self._rover = 0

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + 4095) & ~4095
        first = self._index(self._rover)
        for hole in self._holes[first:] + self._holes[:first]:
            if hole.hi - hole.lo >= need:
                break
        else:
            hole = self._grow(need)
        base = hole.lo
        hole.lo += need
        if hole.lo == hole.hi:
            self._holes.remove(hole)
        self._live[base] = (need, hole.arena)
        self._arenas[hole.arena][1] += 1
        self._rover = base + need
        return base

    def _index(self, address):
        return bisect_left(self._holes, address, key=lambda h: h.lo)

    def _grow(self, need):
        g = self._src.granule
        exact = -(-need // g) * g
        room = (self._limit - self._mapped) // g * g
        wanted = max(exact, min(room, -(-self._arena_size // g) * g))
        for size in (wanted, exact):
            if size > room:
                break
            try:
                base = self._src.map(size)
            except MemoryError:
                continue
            self._mapped += size
            self._arenas[base] = [size, 0]
            hole = _Hole(base, base + size, base)
            self._holes.insert(self._index(base), hole)
            return hole
        raise MemoryError("neither a hole nor an arena for %d bytes" % need)

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer: %r" % (base,))
        size, arena = self._live.pop(base)
        hole = _Hole(base, base + size, arena)
        i = j = self._index(base)
        if i > 0 and self._holes[i - 1].hi == hole.lo and self._holes[i - 1].arena == arena:
            i -= 1
            hole.lo = self._holes[i].lo
        if j < len(self._holes) and self._holes[j].lo == hole.hi and self._holes[j].arena == arena:
            hole.hi = self._holes[j].hi
            j += 1
        self._arenas[arena][1] -= 1
        if self._arenas[arena][1]:
            self._holes[i:j] = [hole]
        else:
            del self._holes[i:j]
            length, _ = self._arenas.pop(arena)
            self._mapped -= length
            self._src.unmap(arena, length)
