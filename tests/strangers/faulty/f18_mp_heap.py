# FAULTY: blocks are found by absolute address, and joining with the block in front does not look at its arena, so free blocks of two arenas that the source mapped side by side become one.
# PROMISES: arenas of arena_size, doubled each time up to 4 MiB, or just large enough; best fit by length (latest freed of equal length first), low end; sizes rounded to the quantum; joins both ways, never across two arenas; an arena that is one free block is unmapped at once; complete.
# SHOWS: arena_size 64 KiB, limit 192 KiB, ranges side by side: three alloc(32768) (the third from a second arena of 128 KiB), free the second, free the third: the second arena stays mapped and alloc(163840) lies over the seam.
from bisect import bisect_left, insort


class MpHeap:
    """After CPython's multiprocessing.heap."""

    quantum = 4096
    _DOUBLE_UNTIL = 4 << 20

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._new_size = source, kva_limit, arena_size
        self._mapped = 0
        self._lengths = []
        self._len_to_seq = {}
        self._start_to_block = {}
        self._stop_to_block = {}
        self._allocated = {}

    def alloc(self, size):
        if not isinstance(size, int) or type(size) is bool:
            raise TypeError("Size not an integer")
        if size < 1 or size > 1 << 63:
            raise ValueError("Size %d out of range" % size)
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        arena, start, stop = self._malloc(need)
        if start + need < stop:
            self._add((arena, start + need, stop))
        self._allocated[start] = (arena, start, start + need)
        return start

    def _malloc(self, need):
        i = bisect_left(self._lengths, need)
        if i == len(self._lengths):
            return self._new_arena(need)
        seq = self._len_to_seq[self._lengths[i]]
        block = seq[-1]
        self._absorb(block)
        return block

    def _new_arena(self, need):
        g = self._source.granule
        length = -(-max(self._new_size, need) // g) * g
        if self._mapped + length > self._limit:
            length = -(-need // g) * g
        if self._mapped + length > self._limit:
            raise MemoryError("kva_limit reached")
        self._mapped += length
        try:
            base = self._source.map(length)
        except MemoryError:
            self._mapped -= length
            raise
        if self._new_size < self._DOUBLE_UNTIL:
            self._new_size *= 2
        return (base, length), base, base + length

    def _add(self, block):
        arena, start, stop = block
        length = stop - start
        if length in self._len_to_seq:
            self._len_to_seq[length].append(block)
        else:
            self._len_to_seq[length] = [block]
            insort(self._lengths, length)
        self._start_to_block[start] = block
        self._stop_to_block[stop] = block

    def _absorb(self, block):
        arena, start, stop = block
        del self._start_to_block[start]
        del self._stop_to_block[stop]
        seq = self._len_to_seq[stop - start]
        seq.remove(block)
        if not seq:
            del self._len_to_seq[stop - start]
            self._lengths.remove(stop - start)
        return start, stop

    def free(self, base):
        if type(base) is not int or base not in self._allocated:
            raise ValueError("not an allocated block")
        arena, start, stop = self._allocated.pop(base)
        before = self._stop_to_block.get(start)
        if before is not None:
            start, _ = self._absorb(before)
        behind = self._start_to_block.get(stop)
        if behind is not None and behind[0] == arena:
            _, stop = self._absorb(behind)
        if (start, stop - start) == arena:
            self._mapped -= arena[1]
            self._source.unmap(*arena)
        else:
            self._add((arena, start, stop))
