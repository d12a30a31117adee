# FAULTY: the arena of a buffer is found by dividing its address by arena_size, which is right only when the source aligns its ranges to arena_size.
# PROMISES: arenas of arena_size shared by buffers up to a quarter of it, dedicated mappings for larger ones; oldest arena first, lowest run of pages in it; sizes rounded to the quantum (dedicated: to the granule); an empty arena or dedicated mapping is unmapped at once; serves whenever the limit leaves an arena.
# SHOWS: arena_size 1 MiB and a first range at 0x90000 (aligned to the granule only): the 113th live page lies past 0x100000 and its free raises KeyError.


class ChunkKey:
    """After jemalloc's chunks: huge buffers apart, the others in chunks of one size."""

    quantum = 4096

    class _Chunk:
        def __init__(self, base, pages):
            self.base = base
            self.map = bytearray(pages)
            self.runs = {}

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        g = source.granule
        self._source, self._limit = source, kva_limit
        self._chunk_size = max(g, min(-(-arena_size // g), kva_limit // g) * g)
        self._mapped = 0
        self._chunks = {}
        self._huge = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if size > self._chunk_size // 4:
            g = self._source.granule
            size = -(-size // g) * g
            base = self._map(size)
            self._huge[base] = size
            return base
        pages = -(-size // self.quantum)
        for chunk in self._chunks.values():
            at = chunk.map.find(bytes(pages))
            if at >= 0:
                break
        else:
            base = self._map(self._chunk_size)
            chunk = self._Chunk(base, self._chunk_size // self.quantum)
            self._chunks[base // self._chunk_size] = chunk
            at = 0
        chunk.map[at : at + pages] = b"\1" * pages
        base = chunk.base + at * self.quantum
        chunk.runs[base] = pages
        return base

    def _map(self, size):
        if self._mapped + size > self._limit:
            raise MemoryError("kva_limit")
        self._mapped += size
        try:
            return self._source.map(size)
        except MemoryError:
            self._mapped -= size
            raise

    def _unmap(self, base, size):
        self._mapped -= size
        self._source.unmap(base, size)

    def free(self, base):
        if type(base) is not int:
            raise KeyError(base)
        if base in self._huge:
            self._unmap(base, self._huge.pop(base))
            return
        key = base // self._chunk_size
        chunk = self._chunks[key]
        pages = chunk.runs.pop(base)
        at = (base - chunk.base) // self.quantum
        chunk.map[at : at + pages] = bytes(pages)
        if not chunk.runs:
            del self._chunks[key]
            self._unmap(chunk.base, self._chunk_size)
