# FAULTY: ends of ranges are masked to 64 bits, so a hole that ends at 2**64 has the end 0 and nothing is ever found to fit in it.
# PROMISES: arenas of arena_size or just large enough; first fit by address over all arenas; sizes rounded to the quantum; joins both ways, never over the seam of two arenas; an empty arena is unmapped at once; complete.
# SHOWS: a source that maps its first range so that it ends at 2**64: alloc(4096) raises MemoryError.
from bisect import insort

MASK = 2**64 - 1


class TopEnd:
    quantum = 4096

    class _Span:
        __slots__ = ("start", "end", "arena")

        def __init__(self, start, end, arena):
            self.start, self.end, self.arena = start, end, arena

        def __lt__(self, other):
            return self.start < other.start

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._holes = []
        self._live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 0 < size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        base = self._first(self._holes, need)
        if base is None:
            base = self._first([self._map(need)], need)
        if base is None:
            raise MemoryError("no room")
        return base

    def _first(self, holes, need):
        for hole in holes:
            stop = hole.start + need
            if stop <= hole.end:
                base = hole.start
                self._live[base] = self._Span(base, stop, hole.arena)
                if stop == hole.end:
                    self._holes.remove(hole)
                else:
                    hole.start = stop
                return base
        return None

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
        hole = self._Span(base, (base + size) & MASK, (base, size))
        insort(self._holes, hole)
        return hole

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not the base of a live buffer")
        span = self._live.pop(base)
        kept = []
        for hole in self._holes:
            if hole.arena == span.arena and hole.end == span.start:
                span.start = hole.start
            elif hole.arena == span.arena and hole.start == span.end:
                span.end = hole.end
            else:
                kept.append(hole)
        self._holes = kept
        if (span.start, span.end - span.start) == span.arena:
            self._mapped -= span.arena[1]
            self._source.unmap(*span.arena)
        else:
            insort(kept, span)
