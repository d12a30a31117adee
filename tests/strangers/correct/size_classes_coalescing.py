# CORRECT: Size classes without buddies over arenas: a request is rounded up to 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ... pages of 4096 bytes and that whole class size is taken from the low end of the lowest hole which holds it, at any page; without such a hole an arena of arena_size (less if the limit leaves less, but at least the class size; only the class size if the source will not give more) is mapped, else the request is refused; holes merge within their arena, and an arena is unmapped when it is all hole again; the granule must be a multiple of 4096.
from bisect import bisect_left, insort


class ClassFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("unsuitable granule")
        self._source = source
        self._limit = kva_limit
        self._arena_size = arena_size
        self._size_of_arena = {}
        self._holes = []        # (start, end, arena), sorted
        self._live = {}         # base -> (class size, arena)

    @staticmethod
    def class_size(size):
        pages = -(-size // 4096)
        power = 1 << (pages - 1).bit_length()
        if power >= 4 and pages <= power // 4 * 3:
            power = power // 4 * 3
        return power * 4096

    def _plans(self, need):
        """Arena sizes worth trying, the preferred one first."""
        g = self._source.granule
        least = -(-need // g) * g
        room = (self._limit - sum(self._size_of_arena.values())) // g * g
        if least <= room:
            roomy = min(room, -(-self._arena_size // g) * g)
            if roomy > least:
                yield roomy
            yield least

    def _new_arena(self, need):
        for size in self._plans(need):
            try:
                base = self._source.map(size)
            except MemoryError:
                continue
            self._size_of_arena[base] = size
            hole = (base, base + size, base)
            insort(self._holes, hole)
            return hole
        raise MemoryError("no room for a block of %d bytes" % need)

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 1 << 63:
            raise ValueError("size must lie in 1..2**63")
        need = self.class_size(size)
        hole = next((h for h in self._holes if h[1] - h[0] >= need), None)
        if hole is None:
            hole = self._new_arena(need)
        start, end, arena = hole
        i = bisect_left(self._holes, hole)
        self._holes[i:i + 1] = [(start + need, end, arena)] if end - start > need else []
        self._live[start] = need, arena
        return start

    def free(self, base):
        size = self.size_of(base)
        arena = self._live.pop(base)[1]
        start, end = base, base + size
        i = j = bisect_left(self._holes, (base,))
        if i and self._holes[i - 1][1:] == (start, arena):
            i -= 1
            start = self._holes[i][0]
        if j < len(self._holes) and (self._holes[j][0], self._holes[j][2]) == (end, arena):
            end = self._holes[j][1]
            j += 1
        if end - start < self._size_of_arena[arena]:
            self._holes[i:j] = [(start, end, arena)]
        else:
            del self._holes[i:j]
            self._source.unmap(arena, self._size_of_arena.pop(arena))

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not the base of a live buffer")
        return self._live[base][0]
