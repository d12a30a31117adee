# CORRECT: Binary buddies by offset inside the arena, largest order 8 (256 pages of 4096 bytes): requests above 1 MiB are refused, others are rounded up to a power of two of pages and get the smallest sufficient free block (lowest address of equals), split down keeping the lower half; without one an arena of arena_size (less if the limit leaves less, at least the block; only the block if the source refuses more), cut from offset 0 into the largest blocks up to that order, is mapped, else the request is refused; an arena without live blocks is unmapped; the granule must be a multiple of 4096.

MAX_ORDER = 8


class _Arena:
    def __init__(self, base, size):
        self.base, self.size = base, size
        self.live = {}                                          # page number -> order
        self.free = [set() for _ in range(MAX_ORDER + 1)]       # page numbers by order
        page, left = 0, size // 4096
        while left:
            order = min(MAX_ORDER, left.bit_length() - 1)
            self.free[order].add(page)
            page += 1 << order
            left -= 1 << order

    def take(self, order, wanted):
        page = min(self.free[order])
        self.free[order].remove(page)
        while order > wanted:
            order -= 1
            self.free[order].add(page + (1 << order))
        self.live[page] = wanted
        return self.base + page * 4096

    def give(self, page):
        order = self.live.pop(page)
        while order < MAX_ORDER and page ^ (1 << order) in self.free[order]:
            self.free[order].remove(page ^ (1 << order))
            page &= ~(1 << order)
            order += 1
        self.free[order].add(page)


class ArenaBuddies:
    quantum = 4096
    max_request = 4096 << MAX_ORDER

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be whole pages")
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}

    def alloc(self, size):
        if type(size) is not int or size <= 0 or size > 2**63:
            raise ValueError("size must be an int in 1..2**63")
        if size > self.max_request:
            raise MemoryError("above the largest order")
        wanted = ((size + 4095) // 4096 - 1).bit_length()
        for order in range(wanted, MAX_ORDER + 1):
            bases = [a.base for a in self._arenas.values() if a.free[order]]
            if bases:
                return self._arenas[min(bases)].take(order, wanted)
        arena = self._map(4096 << wanted)
        order = next(k for k in range(wanted, MAX_ORDER + 1) if arena.free[k])
        return arena.take(order, wanted)

    def _map(self, block):
        g = self._source.granule
        least = -(-block // g) * g
        room = (self._limit - sum(a.size for a in self._arenas.values())) // g * g
        for size in (max(least, min(room, -(-self._arena_size // g) * g)), least):
            if size > room:
                continue
            try:
                base = self._source.map(size)
            except MemoryError:
                continue
            arena = self._arenas[base] = _Arena(base, size)
            return arena
        raise MemoryError("no block and no arena of %d bytes" % block)

    def free(self, base):
        if type(base) is not int:
            raise ValueError("not an address")
        for arena in self._arenas.values():
            if arena.base <= base < arena.base + arena.size:
                break
        else:
            raise ValueError("no arena has this address")
        page, odd = divmod(base - arena.base, 4096)
        if odd or page not in arena.live:
            raise ValueError("not the base of a live block")
        arena.give(page)
        if not arena.live:
            del self._arenas[arena.base]
            self._source.unmap(arena.base, arena.size)
