# CORRECT: First fit over arenas which releases idle arenas only above a threshold: sizes are rounded up to 4096-byte pages and come off the low end of the lowest large enough hole; without one an arena of arena_size (at most what the limit leaves, at least the size; only that if the source refuses more) is mapped, else the request is refused; an arena without live buffers stays mapped, but while such arenas hold more than an eighth of kva_limit the one idle for longest is unmapped, and when no buffer at all is live they all are; mapped arenas are not given up to make room for a request under the limit; the granule must be a multiple of 4096.
from bisect import bisect_left, insort


class IdleThreshold:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self._source = source
        self._limit = kva_limit
        self._arena_size = arena_size
        self.threshold = kva_limit // 8
        self._arenas = {}       # base -> size
        self._users = {}        # base of an arena -> live buffers in it
        self._idle = {}         # bases of idle arenas, the longest idle first
        self._holes = []        # [start, end, arena], sorted
        self._live = {}         # base -> (size, arena)

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size must be an int from 1 to 2**63")
        need = (size + 4095) // 4096 * 4096
        for hole in self._holes:
            if hole[1] - hole[0] >= need:
                break
        else:
            hole = self._map(need)
        base, _, arena = hole
        hole[0] += need
        if hole[0] == hole[1]:
            self._holes.remove(hole)
        self._live[base] = need, arena
        self._users[arena] += 1
        self._idle.pop(arena, None)
        return base

    def _map(self, need):
        g = self._source.granule
        least = -(-need // g) * g
        room = (self._limit - sum(self._arenas.values())) // g * g
        if least > room:
            raise MemoryError("limit")
        size = max(least, min(room, -(-self._arena_size // g) * g))
        try:
            base = self._source.map(size)
        except MemoryError:
            if size == least:
                raise
            size = least
            base = self._source.map(size)
        self._arenas[base] = size
        self._users[base] = 0
        hole = [base, base + size, base]
        insort(self._holes, hole)
        return hole

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer: %r" % (base,))
        size, arena = self._live.pop(base)
        start, end = base, base + size
        i = j = bisect_left(self._holes, [base])
        if i and self._holes[i - 1][1:] == [start, arena]:
            i -= 1
            start = self._holes[i][0]
        if j < len(self._holes) and self._holes[j][::2] == [end, arena]:
            end = self._holes[j][1]
            j += 1
        self._holes[i:j] = [[start, end, arena]]
        self._users[arena] -= 1
        if not self._users[arena]:
            self._idle[arena] = True
            self._trim(self.threshold if self._live else 0)

    def _trim(self, allowed):
        while self.idle_bytes() > allowed:
            arena = next(iter(self._idle))
            size = self._arenas.pop(arena)
            del self._idle[arena], self._users[arena]
            self._holes.remove([arena, arena + size, arena])
            self._source.unmap(arena, size)

    def idle_bytes(self):
        return sum(self._arenas[a] for a in self._idle)
