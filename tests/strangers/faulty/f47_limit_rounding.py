# FAULTY: kva_limit is rounded up to the granule instead of down, so a limit that is no multiple of the granule is exceeded by part of one granule.
# PROMISES: arenas of arena_size, or just large enough for a larger request or the rest of the limit; first fit by address over all arenas; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete; mapped bytes never exceed kva_limit.
# SHOWS: kva_limit 70,000, arena_size 4096, granule 4096: the eighteenth alloc(4096) succeeds with 73,728 bytes mapped.
from bisect import bisect_left


class LimitRounding:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source = source
        self._arena_size = self._up(arena_size)
        self._left = self._up(kva_limit)
        self._arenas = {}
        self._holes = []
        self._live = {}

    def _up(self, size):
        return -(-size // self._source.granule) * self._source.granule

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        i = self._search(need)
        if i is None:
            i = self._map(need)
        base, have = self._holes[i]
        if have == need:
            del self._holes[i]
        else:
            self._holes[i] = (base + need, have - need)
        self._live[base] = need
        return base

    def _search(self, need):
        return next((i for i, hole in enumerate(self._holes) if hole[1] >= need), None)

    def _map(self, need):
        size = self._up(need)
        if size > self._left:
            raise MemoryError("kva_limit")
        if size < self._arena_size:
            size = min(self._arena_size, self._left)
        self._left -= size
        try:
            base = self._source.map(size)
        except MemoryError:
            self._left += size
            raise
        self._arenas[base] = size
        i = bisect_left(self._holes, (base, 0))
        self._holes.insert(i, (base, size))
        return i

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("no such buffer")
        size = self._live.pop(base)
        i = bisect_left(self._holes, (base, 0))
        end = base + size
        if i < len(self._holes) and self._holes[i][0] == end and end not in self._arenas:
            size += self._holes.pop(i)[1]
        if i and sum(self._holes[i - 1]) == base and base not in self._arenas:
            i -= 1
            base, front = self._holes.pop(i)
            size += front
        if self._arenas.get(base) == size:
            del self._arenas[base]
            self._left += size
            self._source.unmap(base, size)
        else:
            self._holes.insert(i, (base, size))

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("no such buffer")
        return self._live[base]
