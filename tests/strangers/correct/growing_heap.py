# CORRECT: A heap that grows: first fit (lowest hole, carved from its low end, 4096-byte pages) over mapped ranges that are joined wherever they touch, so that buffers may lie across a seam; when no hole fits it maps arena_size (cut to what the limit leaves, at least the size), else just the size, else only what is missing behind the hole at the heap's upper end or before the one at its lower end, keeping a range only if the request then fits; else the request is refused; every mapped range that lies wholly inside a hole is unmapped when a buffer is freed; the granule must be a multiple of 4096.
from bisect import bisect_left, insort


class GrowingHeap:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        self.source = source
        self.kva_limit = kva_limit
        self.arena_size = arena_size
        self.ranges = []        # [base, size], sorted
        self.holes = []         # [start, end], sorted; touching ones are always joined
        self.live = {}          # base -> size

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // 4096) * 4096
        hole = next((h for h in self.holes if h[1] - h[0] >= need), None) or self._grow(need)
        start = hole[0]
        hole[0] += need
        if hole[0] == hole[1]:
            self.holes.remove(hole)
        self.live[start] = need
        return start

    def _attempts(self, need):
        """Sizes worth mapping, the preferred one first."""
        up = lambda n: -(-n // self.source.granule) * self.source.granule
        room = self.kva_limit - sum(size for _, size in self.ranges)
        room -= room % self.source.granule
        sizes = [max(up(need), min(room, up(self.arena_size))), up(need)]
        if self.holes:
            top = self.ranges[-1][0] + self.ranges[-1][1]
            if self.holes[-1][1] == top:
                sizes.append(up(need - (top - self.holes[-1][0])))
            if self.holes[0][0] == self.ranges[0][0]:
                sizes.append(up(need - (self.holes[0][1] - self.holes[0][0])))
        return [n for n in dict.fromkeys(sizes) if n <= room]

    def _grow(self, need):
        for size in self._attempts(need):
            try:
                base = self.source.map(size)
            except MemoryError:
                continue
            insort(self.ranges, [base, size])
            hole = self._join(base, base + size)
            if hole[1] - hole[0] >= need:
                return hole
            self._cut(hole, base, base + size)
            self.ranges.remove([base, size])
            self.source.unmap(base, size)
        raise MemoryError("the heap cannot grow by %d bytes" % need)

    def _join(self, start, end):
        i = j = bisect_left(self.holes, [start])
        if i and self.holes[i - 1][1] == start:
            i -= 1
            start = self.holes[i][0]
        if j < len(self.holes) and self.holes[j][0] == end:
            end = self.holes[j][1]
            j += 1
        self.holes[i:j] = [[start, end]]
        return self.holes[i]

    def _cut(self, hole, start, end):
        """Take start..end out of a hole; what is left above stays a hole of its own."""
        i = self.holes.index(hole)
        parts = [[hole[0], start], [end, hole[1]]]
        self.holes[i:i + 1] = [p for p in parts if p[0] < p[1]]

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise ValueError("not the base of a live buffer")
        start, end = self._join(base, base + self.live.pop(base))
        idle = [r for r in self.ranges if start <= r[0] and r[0] + r[1] <= end]
        for lo, size in idle:
            hole = next(h for h in self.holes if h[0] <= lo < h[1])
            self._cut(hole, lo, lo + size)
            self.ranges.remove([lo, size])
            self.source.unmap(lo, size)
