# CORRECT: Arenas of exactly one size (arena_size rounded up to the granule), kept as page bitmaps: sizes are rounded up to 4096-byte pages, a request larger than an arena is refused, others go to the arena with the fewest free pages among those that have a large enough run (lowest address of equals), at the lowest such run; when no arena has one a further arena is mapped if a whole one stays within the limit, else the request is refused; an arena is unmapped when its last buffer is freed; the granule must be a multiple of 4096.


def _run(bits, n):
    """Lowest i with bits i .. i+n-1 set, or -1."""
    have = 1
    while have < n and bits:
        step = min(have, n - have)
        bits &= bits >> step
        have += step
    return (bits & -bits).bit_length() - 1


class FixedArenas:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        if arena_size < 1:
            raise ValueError("arena_size must be positive")
        self.source = source
        self.arena_size = -(-arena_size // source.granule) * source.granule
        self.most = max(0, kva_limit) // self.arena_size        # arenas the limit allows
        self.free_pages = {}                                    # arena -> bitmap
        self.owned = {}                                         # base -> (arena, bitmap)

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size must be an int in 1..2**63")
        if size > self.arena_size:
            raise MemoryError("request is larger than an arena")
        n = -(-size // 4096)
        fitting = [(bits.bit_count(), arena) for arena, bits in self.free_pages.items()
                   if _run(bits, n) >= 0]
        arena = min(fitting)[1] if fitting else self._map()
        first = _run(self.free_pages[arena], n)
        taken = ((1 << n) - 1) << first
        self.free_pages[arena] ^= taken
        base = arena + first * 4096
        self.owned[base] = arena, taken
        return base

    def _map(self):
        if len(self.free_pages) >= self.most:
            raise MemoryError("the limit allows no further arena")
        arena = self.source.map(self.arena_size)
        self.free_pages[arena] = (1 << self.arena_size // 4096) - 1
        return arena

    def free(self, base):
        if type(base) is not int or base not in self.owned:
            raise KeyError(base)
        arena, taken = self.owned.pop(base)
        self.free_pages[arena] |= taken
        if self.free_pages[arena] == (1 << self.arena_size // 4096) - 1:
            del self.free_pages[arena]
            self.source.unmap(arena, self.arena_size)
