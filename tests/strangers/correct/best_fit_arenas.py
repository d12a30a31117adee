# CORRECT: Best fit over arenas: sizes are rounded up to 4096-byte pages, the smallest hole that is large enough is taken (of equals the one at the lowest address) and carved from its low end; when none fits an arena of max(size, arena_size), cut to what the limit leaves, or else of just the size, is mapped, and only when that fails is the request refused; holes never merge across arenas, and an arena is unmapped the moment its last buffer is freed; the granule must be a multiple of 4096.
from bisect import bisect_left, insort


class BestFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        self.source = source
        self.limit = kva_limit
        self.arena_size = arena_size
        self.arenas = {}    # base -> size
        self.by_size = []   # (size, start, arena), sorted
        self.head = {}      # (arena, start) -> hole size
        self.tail = {}      # (arena, end) -> hole size
        self.busy = {}      # base -> (size, arena)

    def _insert(self, hole):
        size, start, arena = hole
        insort(self.by_size, hole)
        self.head[arena, start] = self.tail[arena, start + size] = size

    def _remove(self, hole):
        size, start, arena = hole
        del self.by_size[bisect_left(self.by_size, hole)]
        del self.head[arena, start], self.tail[arena, start + size]

    def _map_arena(self, need):
        g = self.source.granule
        need = -(-need // g) * g
        room = (self.limit - sum(self.arenas.values())) // g * g
        roomy = min(room, -(-self.arena_size // g) * g)
        for size in sorted({max(need, roomy), need}, reverse=True):
            if size <= room:
                try:
                    base = self.source.map(size)
                except MemoryError:
                    continue
                self.arenas[base] = size
                hole = (size, base, base)
                self._insert(hole)
                return hole
        raise MemoryError(f"cannot serve {need} bytes")

    def alloc(self, size):
        if type(size) is not int or not 0 < size <= 1 << 63:
            raise ValueError(f"bad size {size!r}")
        need = -(-size // self.quantum) * self.quantum
        at = bisect_left(self.by_size, (need,))
        hole = self.by_size[at] if at < len(self.by_size) else self._map_arena(need)
        self._remove(hole)
        have, start, arena = hole
        if have > need:
            self._insert((have - need, start + need, arena))
        self.busy[start] = need, arena
        return start

    def free(self, base):
        if type(base) is not int or base not in self.busy:
            raise KeyError(base)
        size, arena = self.busy.pop(base)
        if before := self.tail.get((arena, base)):
            base -= before
            self._remove((before, base, arena))
            size += before
        if after := self.head.get((arena, base + size)):
            self._remove((after, base + size, arena))
            size += after
        if size == self.arenas[arena]:
            del self.arenas[arena]
            self.source.unmap(arena, size)
        else:
            self._insert((size, base, arena))

    def stats(self):
        mapped = sum(self.arenas.values())
        live = sum(size for size, _ in self.busy.values())
        return dict(mapped=mapped, live=live, free=mapped - live, holes=len(self.by_size),
                    largest_hole=self.by_size[-1][0] if self.by_size else 0,
                    arenas=len(self.arenas))
