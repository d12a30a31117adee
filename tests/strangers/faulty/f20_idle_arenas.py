# FAULTY: growing stores the sum of mapped bytes that was worked out before source.map was called, so an arena that a reclaim() inside map() unmaps stays charged for good.
# PROMISES: arenas of arena_size or just large enough; first fit in order of mapping; sizes rounded to the quantum; joins both ways inside an arena at once; idle arenas are kept until reclaim() or until the limit presses; complete; source.map may call reclaim().
# SHOWS: limit 4 MiB, one idle arena of 1 MiB kept; alloc(2**20 + 4096) from a source whose map() calls reclaim(): stats()["mapped"] is 1 MiB too high and alloc(5 << 19) is refused.
from bisect import bisect_left


class IdleKeeper:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped = 0
        self._arenas = []  # [base, size, holes]
        self._live = {}

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(size)
        if not 1 <= size <= 2**63:
            raise ValueError(size)
        need = -(-size // self.quantum) * self.quantum
        base = self._first(need)
        if base is None:
            self._grow(need)
            base = self._first(need)
        return base

    def _first(self, need):
        for arena in self._arenas:
            for i, (base, size) in enumerate(arena[2]):
                if size >= need:
                    arena[2][i : i + 1] = [(base + need, size - need)] if size > need else []
                    self._live[base] = (arena, need)
                    return base
        return None

    def _grow(self, need):
        g = self._source.granule
        least = -(-need // g) * g
        if self._mapped + least > self._limit:
            self.reclaim()
        size = max(least, -(-self._arena_size // g) * g)
        if self._mapped + size > self._limit:
            size = least
        total = self._mapped + size
        if total > self._limit:
            raise MemoryError("kva_limit")
        base = self._source.map(size)
        self._mapped = total
        self._arenas.append([base, size, [(base, size)]])

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError(base)
        arena, size = self._live.pop(base)
        holes = arena[2]
        i = bisect_left(holes, (base, 0))
        if i < len(holes) and holes[i][0] == base + size:
            size += holes.pop(i)[1]
        if i and sum(holes[i - 1]) == base:
            i -= 1
            base, front = holes.pop(i)
            size += front
        holes.insert(i, (base, size))

    def reclaim(self):
        idle = [a for a in self._arenas if a[2] == [(a[0], a[1])]]
        for arena in idle:
            self._arenas.remove(arena)
            self._mapped -= arena[1]
            self._source.unmap(arena[0], arena[1])
        return sum(a[1] for a in idle)

    def stats(self):
        live = sum(size for _, size in self._live.values())
        holes = [size for a in self._arenas for _, size in a[2]]
        return {
            "mapped": self._mapped,
            "live": live,
            "free": sum(holes),
            "holes": len(holes),
            "largest_hole": max(holes, default=0),
            "arenas": len(self._arenas),
        }
