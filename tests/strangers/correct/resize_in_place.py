# CORRECT: First fit over arenas with resize: sizes are rounded up to 4096-byte pages, the lowest large enough hole is carved from its low end, or else a new arena (arena_size cut to what the limit leaves, at least the size; only that if the source refuses more), or MemoryError; resize shrinks or grows in place where the hole behind suffices, else slides down to the start of the hole right below if both holes together suffice, else moves to a fresh range as alloc gives it and frees the old one, else MemoryError with the buffer as it was; idle arenas are unmapped at once; the granule must be a multiple of 4096.


class _Seg:
    __slots__ = ("base", "size", "busy", "arena", "prev", "next")

    def __init__(self, base, size, arena, prev=None, next=None):
        self.base, self.size, self.busy, self.arena = base, size, False, arena
        self.prev, self.next = prev, next
        if prev:
            prev.next = self
        if next:
            next.prev = self


class ResizingHeap:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}       # base -> [size, its lowest segment]
        self._live = {}         # base -> segment

    @staticmethod
    def _round(size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        return -(-size // 4096) * 4096

    def _holes(self):
        for base in sorted(self._arenas):
            seg = self._arenas[base][1]
            while seg:
                if not seg.busy:
                    yield seg
                seg = seg.next

    def _occupy(self, seg, size):
        """Make `seg` busy with `size` bytes, what is left over a hole behind it."""
        if seg.size > size:
            _Seg(seg.base + size, seg.size - size, seg.arena, seg, seg.next)
            seg.size = size
        seg.busy = True
        self._live[seg.base] = seg
        return seg.base

    @staticmethod
    def _swallow_next(seg):
        seg.size += seg.next.size
        seg.next = seg.next.next
        if seg.next:
            seg.next.prev = seg

    def alloc(self, size):
        need = self._round(size)
        hole = next((s for s in self._holes() if s.size >= need), None)
        return self._occupy(hole or self._grow(need), need)

    def _grow(self, need):
        g = self._source.granule
        need = -(-need // g) * g
        room = (self._limit - sum(n for n, _ in self._arenas.values())) // g * g
        for size in (max(need, min(room, -(-self._arena_size // g) * g)), need):
            if size <= room:
                try:
                    base = self._source.map(size)
                except MemoryError:
                    continue
                seg = _Seg(base, size, base)
                self._arenas[base] = [size, seg]
                return seg
        raise MemoryError("no address space for %d bytes" % need)

    def _segment(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not the base of a live buffer")
        return self._live[base]

    def free(self, base):
        seg = self._segment(base)
        del self._live[base]
        seg.busy = False
        if seg.next and not seg.next.busy:
            self._swallow_next(seg)
        if seg.prev and not seg.prev.busy:
            seg = seg.prev
            self._swallow_next(seg)
        if not seg.prev and not seg.next:
            del self._arenas[seg.arena]
            self._source.unmap(seg.base, seg.size)

    def resize(self, base, size):
        seg, need = self._segment(base), self._round(size)
        above = seg.next.size if seg.next and not seg.next.busy else 0
        below = seg.prev.size if seg.prev and not seg.prev.busy else 0
        if need > below + seg.size + above:
            fresh = self.alloc(size)
            self.free(base)
            return fresh
        del self._live[base]
        if above:
            self._swallow_next(seg)
        if need > seg.size:
            seg = seg.prev
            self._swallow_next(seg)
        return self._occupy(seg, need)
