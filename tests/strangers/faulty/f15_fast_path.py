# FAULTY: the magazine is looked up with the size as given before the size is checked, and 4096.0 hashes like 4096, so a float is served from a magazine.
# PROMISES: arenas of arena_size or just large enough; exact-size magazines of at most 32 buffers, last freed first, over a lowest-address first fit; sizes rounded to the quantum; joins inside an arena once out of the magazines; reclaim() drains the magazines and unmaps empty arenas, and so does pressure; complete.
# SHOWS: free(alloc(4096)); then alloc(4096.0) returns a base instead of raising.
from bisect import bisect_left


class FastPath:
    quantum = 4096
    ROUNDS = 32

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._mapped, self._arenas = 0, {}
        self._holes, self._mags, self._live = [], {}, {}

    def alloc(self, size):
        mag = self._mags.get(size)  # the hot path: a multiple of the quantum
        if mag:
            base = mag.pop()
            self._live[base] = size
            return base
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if size <= 0 or size > 2**63:
            raise ValueError("size out of range")
        need = size + -size % self.quantum
        mag = self._mags.get(need)
        if mag:
            base = mag.pop()
        else:
            base = self._slow(need)
        self._live[base] = need
        return base

    def _slow(self, need):
        base = self._first(need)
        if base is None and not self._grow(need):
            self.reclaim()
            base = self._first(need)
            if base is None and not self._grow(need):
                raise MemoryError("no room for %d bytes" % need)
        return self._first(need) if base is None else base

    def _first(self, need):
        for i, (base, size) in enumerate(self._holes):
            if size >= need:
                self._holes[i : i + 1] = [(base + need, size - need)] if size > need else []
                return base
        return None

    def _grow(self, need):
        for want in (max(need, self._arena_size), need):
            want += -want % self._source.granule
            if self._mapped + want > self._limit:
                continue
            self._mapped += want
            try:
                base = self._source.map(want)
            except MemoryError:
                self._mapped -= want
                continue
            self._arenas[base] = want
            self._holes.insert(bisect_left(self._holes, (base, 0)), (base, want))
            return True
        return False

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        mag = self._mags.setdefault(size, [])
        if len(mag) < self.ROUNDS:
            mag.append(base)
        else:
            self._join(base, size)

    def _join(self, base, size):
        i = bisect_left(self._holes, (base, 0))
        end = base + size
        if i < len(self._holes) and self._holes[i][0] == end and end not in self._arenas:
            size += self._holes.pop(i)[1]
        if i and sum(self._holes[i - 1]) == base and base not in self._arenas:
            i -= 1
            base, more = self._holes.pop(i)
            size += more
        self._holes.insert(i, (base, size))

    def reclaim(self):
        mags, self._mags = self._mags, {}
        for size, mag in mags.items():
            for base in mag:
                self._join(base, size)
        idle = [hole for hole in self._holes if self._arenas.get(hole[0]) == hole[1]]
        for base, size in idle:
            self._holes.remove((base, size))
            del self._arenas[base]
            self._mapped -= size
            self._source.unmap(base, size)
        return sum(size for _, size in idle)
