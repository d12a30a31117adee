# CORRECT: TLSF with 32 second-level lists per power of two over arenas: sizes are rounded up to 4096-byte pages, the first non-empty list whose holes all fit gives its oldest hole, then the oldest fitting hole of the list below is tried, then an arena is mapped (arena_size as far as the limit and the source allow, or just the size); holes are carved from the low end and never merge across arenas; a request is refused only when no hole at all fits and no arena can be mapped; an arena goes back to the source as soon as it is one single hole; the granule must be a multiple of 4096.
from collections import defaultdict


class Tlsf32:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self.source, self.kva_limit, self.arena_size = source, kva_limit, arena_size
        self.arenas = {}                    # base -> size
        self.nonempty = 0                   # one bit for each list
        self.lists = defaultdict(dict)      # list number -> {(arena, start): size}
        self.starts = {}                    # (arena, start) -> size
        self.ends = {}                      # (arena, end) -> start
        self.live = {}                      # base -> (size, arena)

    @staticmethod
    def _list_number(size):
        pages = size >> 12
        if pages < 32:
            return pages
        shift = pages.bit_length() - 6
        return (shift << 5) + (pages >> shift)

    def _push(self, arena, start, size):
        n = self._list_number(size)
        self.lists[n][arena, start] = size
        self.nonempty |= 1 << n
        self.starts[arena, start] = size
        self.ends[arena, start + size] = start

    def _pull(self, arena, start):
        size = self.starts.pop((arena, start))
        del self.ends[arena, start + size]
        n = self._list_number(size)
        del self.lists[n][arena, start]
        if not self.lists[n]:
            del self.lists[n]
            self.nonempty ^= 1 << n
        return size

    def _find(self, need):
        n = self._list_number(need)
        above = n if need == self._floor(n) else n + 1
        bits = self.nonempty >> above << above
        if bits:
            return next(iter(self.lists[(bits & -bits).bit_length() - 1]))
        if self.nonempty >> n & 1:
            return next((key for key, size in self.lists[n].items() if size >= need), None)
        return None

    @staticmethod
    def _floor(n):
        shift = max(0, (n >> 5) - 1)
        return (n - (shift << 5)) << shift << 12

    def _grow(self, need):
        g = self.source.granule
        need = -(-need // g) * g
        room = (self.kva_limit - sum(self.arenas.values())) // g * g
        for size in (max(need, min(room, -(-self.arena_size // g) * g)), need):
            if size <= room:
                try:
                    base = self.source.map(size)
                except MemoryError:
                    continue
                self.arenas[base] = size
                self._push(base, base, size)
                return base, base
        raise MemoryError("out of address space")

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be int")
        if not 0 < size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + 4095) & -4096
        arena, start = self._find(need) or self._grow(need)
        rest = self._pull(arena, start) - need
        if rest:
            self._push(arena, start + need, rest)
        self.live[start] = (need, arena)
        return start

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise KeyError(base)
        size, arena = self.live.pop(base)
        if (arena, base + size) in self.starts:
            size += self._pull(arena, base + size)
        if (arena, base) in self.ends:
            base = self.ends[arena, base]
            size += self._pull(arena, base)
        if size == self.arenas[arena]:
            self.source.unmap(arena, self.arenas.pop(arena))
        else:
            self._push(arena, base, size)
