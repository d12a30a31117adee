# CORRECT: An arena per size class: requests whose next power of two of 4096-byte pages is at most a quarter of arena_size take a block of that size from an arena which holds blocks of that class only (the lowest free block of the lowest such arena that has one); larger ones take an arena of their own, just as large as needed; a class without a free block maps an arena of arena_size (less if the limit leaves less, at least one block; one block if the source refuses more), else the request is refused; no block is ever split or joined, and an arena goes back when its last block is freed; the granule must be a multiple of 4096.
from heapq import heapify, heappop, heappush


class _Arena:
    def __init__(self, base, size, block):
        self.base, self.size, self.block = base, size, block
        self.free = [base + i * block for i in range(size // block)]
        heapify(self.free)
        self.blocks = len(self.free)


class ClassArenas:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule is not a multiple of 4096")
        self._source = source
        self._limit = kva_limit
        self._arena_size = arena_size
        self._largest_class = arena_size // 4
        self._mapped = 0
        self._classes = {}      # block size -> its arenas, by address
        self._live = {}         # base -> arena

    def _block_size(self, size):
        pages = -(-size // 4096)
        block = (1 << (pages - 1).bit_length()) * 4096
        return (block, True) if block <= self._largest_class else (pages * 4096, False)

    def alloc(self, size):
        if type(size) is not int or not 0 < size <= 2**63:
            raise ValueError("size must be an int in 1..2**63")
        block, shared = self._block_size(size)
        arena = None
        if shared:
            arena = next((a for a in self._classes.get(block, ()) if a.free), None)
        if arena is None:
            arena = self._new_arena(block, shared)
        base = heappop(arena.free)
        self._live[base] = arena
        return base

    def _new_arena(self, block, shared):
        g = self._source.granule
        least = -(-block // g) * g
        room = (self._limit - self._mapped) // g * g
        if least > room:
            raise MemoryError("no room for a block of %d bytes" % block)
        size = max(least, min(room, -(-self._arena_size // g) * g)) if shared else least
        try:
            base = self._source.map(size)
        except MemoryError:
            if size == least:
                raise
            size = least
            base = self._source.map(size)
        self._mapped += size
        arena = _Arena(base, size, block)
        if not shared:
            arena.free, arena.blocks = [base], 1
            return arena
        family = self._classes.setdefault(block, [])
        family.append(arena)
        family.sort(key=lambda a: a.base)
        return arena

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError("not a live block: %r" % (base,))
        return self._live[base].block

    def free(self, base):
        self.size_of(base)
        arena = self._live.pop(base)
        heappush(arena.free, base)
        if len(arena.free) == arena.blocks:
            family = self._classes.get(arena.block, [])
            if arena in family:
                family.remove(arena)
                if not family:
                    del self._classes[arena.block]
            self._mapped -= arena.size
            self._source.unmap(arena.base, arena.size)
