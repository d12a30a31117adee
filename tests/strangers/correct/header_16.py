# CORRECT: First fit with a 16-byte header in front of every buffer, over arenas: a request takes 16 bytes plus its size rounded up to 16 from the low end of the lowest hole that holds both, and the address behind the header is returned; without such a hole an arena of arena_size (at most what the limit leaves, at least header plus buffer; just that if the source refuses more) is mapped, else the request is refused; an arena is unmapped when its last buffer goes; the granule must be a multiple of 16.
from bisect import bisect_left, insort

HEADER = 16


class HeaderHeap:
    quantum = 16

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % 16:
            raise ValueError("granule must be a multiple of 16")
        self.source = source
        self.limit = kva_limit
        self.arena_size = arena_size
        self.mapped = 0
        self.arenas = {}        # base -> size
        self.holes = []         # [start, end, arena], sorted
        self.headers = {}       # where a header lies -> (length with header, arena)

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("need an int")
        if size < 1 or size > 2**63:
            raise ValueError("need 1..2**63 bytes")
        length = HEADER + (size + 15) // 16 * 16
        for hole in self.holes:
            if hole[1] - hole[0] >= length:
                break
        else:
            hole = self.extend(length)
        at, end, arena = hole
        if end - at == length:
            self.holes.remove(hole)
        else:
            hole[0] += length
        self.headers[at] = length, arena
        return at + HEADER

    def extend(self, length):
        g = self.source.granule
        least = -(-length // g) * g
        room = (self.limit - self.mapped) // g * g
        if least > room:
            raise MemoryError("the limit does not allow another arena")
        size = max(least, min(room, -(-self.arena_size // g) * g))
        try:
            base = self.source.map(size)
        except MemoryError:
            if size == least:
                raise
            size = least
            base = self.source.map(size)
        self.arenas[base] = size
        self.mapped += size
        hole = [base, base + size, base]
        insort(self.holes, hole)
        return hole

    def free(self, base):
        if type(base) is not int or base - HEADER not in self.headers:
            raise ValueError("there is no header in front of this address")
        start = base - HEADER
        length, arena = self.headers.pop(start)
        end = start + length
        i = bisect_left(self.holes, [start])
        if i < len(self.holes) and self.holes[i][0] == end and self.holes[i][2] == arena:
            end = self.holes.pop(i)[1]
        if i and self.holes[i - 1][1] == start and self.holes[i - 1][2] == arena:
            i -= 1
            start = self.holes.pop(i)[0]
        if end - start == self.arenas[arena]:
            self.mapped -= self.arenas[arena]
            self.source.unmap(arena, self.arenas.pop(arena))
        else:
            self.holes.insert(i, [start, end, arena])
