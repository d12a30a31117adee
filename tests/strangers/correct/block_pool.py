# CORRECT: A pool of blocks of one size, 16384 bytes, over arenas: every request up to that size gets one whole block, the lowest free one, a larger request is refused; blocks lie one behind the other from the start of an arena (what is left at its end stays unused), so addresses are multiples of 4096 only; without a free block an arena of arena_size (at most what the limit leaves, at least one block; one block if the source refuses more) is mapped, else the request is refused; an arena whose blocks are all free is unmapped; the granule must be a multiple of 4096.
from heapq import heapify, heappop, heappush

BLOCK = 16384


class BlockPool:
    quantum = 4096
    block_size = BLOCK
    max_request = BLOCK

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self._source = source
        self._limit = kva_limit
        self._arena_size = arena_size
        self._mapped = {}       # arena -> size
        self._used = {}         # arena -> number of blocks in use
        self._free = []         # heap of (block, arena)
        self._owner = {}        # block in use -> arena

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        if size > BLOCK:
            raise MemoryError("larger than a block")
        if not self._free:
            self._grow()
        block, arena = heappop(self._free)
        self._owner[block] = arena
        self._used[arena] += 1
        return block

    def _grow(self):
        g = self._source.granule
        least = -(-BLOCK // g) * g
        room = (self._limit - sum(self._mapped.values())) // g * g
        if room < least:
            raise MemoryError("pool exhausted")
        size = max(least, min(room, -(-self._arena_size // g) * g))
        try:
            arena = self._source.map(size)
        except MemoryError:
            if size == least:
                raise
            size = least
            arena = self._source.map(size)
        self._mapped[arena] = size
        self._used[arena] = 0
        self._free = [(arena + at, arena) for at in range(0, size - BLOCK + 1, BLOCK)]

    def free(self, base):
        self.size_of(base)
        arena = self._owner.pop(base)
        heappush(self._free, (base, arena))
        self._used[arena] -= 1
        if not self._used[arena]:
            del self._used[arena]
            self._free = [entry for entry in self._free if entry[1] != arena]
            heapify(self._free)
            self._source.unmap(arena, self._mapped.pop(arena))

    def size_of(self, base):
        if type(base) is not int or base not in self._owner:
            raise KeyError("not a block in use: %r" % (base,))
        return BLOCK
