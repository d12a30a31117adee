# FAULTY: the header word of a live buffer keeps its size in the low 32 bits (arena number above), so a buffer of 4 GiB or more is freed with its size modulo 2**32.
# PROMISES: arenas of arena_size or as large as asked; first fit in order of mapping, then of address; sizes rounded to the quantum; joins both ways inside its arena at once; an empty arena is unmapped at once; complete.
# SHOWS: with a limit of 8 GiB: alloc(2**32 + 4096), free it, and the arena stays mapped with only 4096 bytes of it free.
from bisect import bisect

LOW = 0xFFFFFFFF


class HeaderWord:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._left = kva_limit
        self._arena_size = arena_size
        self._arenas = {}  # number -> [base, size, list of (base, size) holes]
        self._next = 1
        self._header = {}

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size: %r" % (size,))
        if not 1 <= size <= 1 << 63:
            raise ValueError("size: %r" % (size,))
        need = size + -size % self.quantum
        for number, (_, _, holes) in self._arenas.items():
            for i, (base, have) in enumerate(holes):
                if have >= need:
                    return self._carve(number, i, need)
        number = self._new_arena(need)
        return self._carve(number, 0, need)

    def _carve(self, number, i, need):
        holes = self._arenas[number][2]
        base, have = holes[i]
        if have == need:
            del holes[i]
        else:
            holes[i] = (base + need, have - need)
        self._header[base] = number << 32 | need & LOW
        return base

    def _new_arena(self, need):
        granule = self._source.granule
        want = max(need, self._arena_size)
        want += -want % granule
        if want > self._left:
            want = need + -need % granule
        if want > self._left:
            raise MemoryError("kva_limit reached")
        self._left -= want
        try:
            base = self._source.map(want)
        except MemoryError:
            self._left += want
            raise
        number = self._next
        self._next += 1
        self._arenas[number] = [base, want, [(base, want)]]
        return number

    def size_of(self, base):
        if type(base) is not int or base not in self._header:
            raise KeyError(base)
        return self._header[base] & LOW

    def free(self, base):
        if type(base) is not int or base not in self._header:
            raise KeyError(base)
        word = self._header.pop(base)
        number, size = word >> 32, word & LOW
        start, total, holes = self._arenas[number]
        i = bisect(holes, (base, 0))
        if i < len(holes) and holes[i][0] == base + size:
            size += holes.pop(i)[1]
        if i > 0 and holes[i - 1][0] + holes[i - 1][1] == base:
            i -= 1
            base, before = holes.pop(i)
            size += before
        if size == total:
            del self._arenas[number]
            self._left += total
            self._source.unmap(start, total)
        else:
            holes.insert(i, (base, size))
