# CORRECT: vmem-like best fit over arenas: sizes are rounded up to 4096-byte pages and all constraints of xalloc (align and nocross powers of two, phase a multiple of 4096 below align) hold for the rounded range; of the holes with a suitable place the smallest (lowest of equals) gives its lowest such place; without one arenas of up to three sizes (arena_size within the limit, size plus the larger of align and nocross, the size) are tried, the largest first, and unmapped again if unsuitable, else MemoryError; ValueError if no address could ever suit; the arena that became idle last stays mapped, earlier idle ones are unmapped, all of them by reclaim() or when nothing is live; mapped arenas are not given up to make room for a request under the limit; the granule must be a multiple of 4096.
from bisect import insort
from collections import namedtuple

PAGE = 4096
_Segment = namedtuple("_Segment", "base size kind arena")


def place(start, end, need, align, phase, nocross):
    """The lowest suitable base of `need` bytes within start..end-1, None without one."""
    step = max(align, PAGE)
    if nocross and phase % min(step, nocross) + need > nocross:
        return None                     # crosses wherever it is put
    while True:
        base = start + (phase - start) % step
        if base + need > end:
            return None
        if not nocross or base // nocross == (base + need - 1) // nocross:
            return base
        start = (base // nocross + 1) * nocross


class Vmem:
    quantum = PAGE

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % PAGE:
            raise ValueError("granule must be a multiple of the page size")
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}       # base -> size
        self._holes = []        # Segments in address order
        self._live = {}         # base -> _Segment
        self._allocs = self._frees = 0

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0, nocross=0, lo=0, hi=2**64 - 1):
        for value in (size, align, phase, nocross, lo, hi):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError("not an int: %r" % (value,))
        if not 1 <= size <= 2**63 or min(align, phase, nocross, lo) < 0:
            raise ValueError("size must be in 1..2**63, nothing negative")
        if align & (align - 1) or nocross & (nocross - 1) or phase % PAGE or phase >= max(align, 1):
            raise ValueError("align, nocross: powers of two; phase: whole pages, below align")
        need = -(-size // PAGE) * PAGE
        rules = need, align, phase, nocross
        end = min(hi, 2**64 - 1) + 1
        if place(lo, end, *rules) is None:
            raise ValueError("the constraints contradict each other")
        for hole in sorted(self._holes, key=lambda h: (h.size, h.base)):
            base = place(max(lo, hole.base), min(end, hole.base + hole.size), *rules)
            if base is not None:
                self._holes.remove(hole)
                break
        else:
            hole, base = self._grow(lo, end, rules)
        for a, b in (hole.base, base), (base + need, hole.base + hole.size):
            if a < b:
                insort(self._holes, _Segment(a, b - a, "free", hole.arena))
        self._live[base] = _Segment(base, need, "busy", hole.arena)
        self._allocs += 1
        return base

    def _grow(self, lo, end, rules):
        up = lambda n: -(-n // self._source.granule) * self._source.granule
        room = (self._limit - sum(self._arenas.values())) // up(1) * up(1)
        least, safe = up(rules[0]), up(rules[0] + max(rules[1], rules[3]))
        sizes = {max(least, min(room, n)) for n in (up(self._arena_size), safe, least)}
        for size in sorted((n for n in sizes if n <= room), reverse=True):
            try:
                arena = self._source.map(size)
            except MemoryError:
                continue
            base = place(max(lo, arena), min(end, arena + size), *rules)
            if base is not None:
                self._arenas[arena] = size
                return _Segment(arena, size, "free", arena), base
            self._source.unmap(arena, size)         # of no use
        raise MemoryError("no suitable hole and no suitable arena")

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not the base of a live buffer: %r" % (base,))
        start, size, _, arena = self._live.pop(base)
        for h in [h for h in self._holes if h.arena == arena]:
            if h.base + h.size == start or start + size == h.base:
                self._holes.remove(h)
                start, size = min(start, h.base), size + h.size
        insort(self._holes, _Segment(start, size, "free", arena))
        self._frees += 1
        if size == self._arenas[arena]:
            self.reclaim(keep=arena if self._live else None)

    def reclaim(self, keep=None):
        idle = [h for h in self._holes if h.size == self._arenas[h.arena] and h.arena != keep]
        self._holes = [h for h in self._holes if h not in idle]
        for hole in idle:
            self._source.unmap(hole.arena, self._arenas.pop(hole.arena))
        return sum(hole.size for hole in idle)

    def segments(self):
        return sorted([*self._holes, *self._live.values()])

    def stats(self):
        free, mapped = [h.size for h in self._holes], sum(self._arenas.values())
        return dict(mapped=mapped, live=mapped - sum(free), free=sum(free), holes=len(free),
                    largest_hole=max(free, default=0), arenas=len(self._arenas), allocs=self._allocs,
                    frees=self._frees)
