# CORRECT: Per-size free-list caches in front of first fit over arenas: sizes are rounded up to 4096-byte pages; a freed buffer of up to 16 pages is cached for its page count (at most 8 of each, else it becomes a hole), a request takes the buffer of exactly its page count cached last, else the low end of the lowest large enough hole, else likewise after all caches are drained if that makes one, else an arena (arena_size within the limit, or the size) is mapped, else MemoryError; an arena that is all hole is unmapped once a free or a drain is done; reclaim() drains the caches, and so does the free of the last live buffer; mapped arenas are not given up to make room for a request under the limit; the granule must be a multiple of 4096.
from collections import defaultdict
from dataclasses import dataclass, replace


@dataclass(order=True)
class _Segment:
    base: int
    size: int
    kind: str
    arena: int


class MagazineFirstFit:
    quantum = 4096
    largest_cached, rounds = 16 * 4096, 8

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}                       # base -> size
        self._segs = []                         # in address order
        self._magazines = defaultdict(list)     # size -> cached segments
        self._live = {}                         # base -> segment

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size must be an int in 1..2**63")
        need = (size + 4095) // 4096 * 4096
        cached = self._magazines.get(need)
        seg = cached.pop() if cached else self._lowest(need)
        if seg is None and self._fits_when_drained(need):
            self._drain()
            seg = self._lowest(need)
        seg = seg or self._map(need)
        if seg.size > need:
            rest = _Segment(seg.base + need, seg.size - need, "free", seg.arena)
            self._segs = sorted(self._segs + [rest])
            seg.size = need
        seg.kind = "busy"
        self._live[seg.base] = seg
        self._unmap_idle()                      # there are some only after a drain
        return seg.base

    def _lowest(self, need):
        return next((s for s in self._segs if s.kind == "free" and s.size >= need), None)

    def _fits_when_drained(self, need):
        run = 0
        for s in self._segs:
            run = 0 if s.kind == "busy" else s.size + (run if s.base != s.arena else 0)
            if run >= need:
                return True
        return False

    def _map(self, need):
        g = self._source.granule
        least = -(-need // g) * g
        room = (self._limit - sum(self._arenas.values())) // g * g
        for size in (max(least, min(room, -(-self._arena_size // g) * g)), least):
            if size <= room:
                try:
                    base = self._source.map(size)
                except MemoryError:
                    continue
                self._arenas[base] = size
                self._segs = sorted(self._segs + [_Segment(base, size, "free", base)])
                return self._lowest(need)
        raise MemoryError("no %d bytes in holes, caches or the source" % need)

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer: %r" % (base,))
        seg = self._live.pop(base)
        seg.kind = "free"
        if seg.size <= self.largest_cached and len(self._magazines[seg.size]) < self.rounds:
            seg.kind = "cached"
            self._magazines[seg.size].append(seg)
        self._drain() if not self._live else self._merge()
        self._unmap_idle()

    def _drain(self):
        for seg in sum(self._magazines.values(), []):
            seg.kind = "free"
        self._magazines.clear()
        self._merge()

    def _merge(self):
        merged = []
        for s in self._segs:
            if s.base != s.arena and s.kind == merged[-1].kind == "free":
                merged[-1].size += s.size
            else:
                merged.append(s)
        self._segs = merged

    def _unmap_idle(self):
        idle = [s for s in self._segs if s.kind == "free" and s.size == self._arenas[s.arena]]
        for s in idle:
            self._segs.remove(s)
            self._source.unmap(s.arena, self._arenas.pop(s.arena))
        return sum(s.size for s in idle)

    def reclaim(self):
        self._drain()
        return self._unmap_idle()

    def segments(self):
        return [replace(s) for s in self._segs]
