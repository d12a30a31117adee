# FAULTY: a double free is noticed only when the buffer is the last one in its magazine, so a base that lies deeper is accepted again and handed out twice.
# PROMISES: one static range; magazines for sizes up to 16 quanta (at most 64 buffers, last freed first), the rest first fit by lowest address; sizes rounded to the quantum; joins both ways once out of the magazines, which are drained before a refusal; nothing released; complete; a double free raises.
# SHOWS: a, b = alloc(4096), alloc(4096); free a, free b, free a is accepted, and three alloc(4096) give a twice.
from bisect import bisect_left


class FastTop:
    quantum = 4096
    SMALL = 16 * 4096
    ROUNDS = 64

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._holes = [(source.map(size), size)]
        self._sizes = {}  # of live and cached buffers
        self._mags = {}

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        mag = self._mags.get(need)
        if mag:
            return mag.pop()
        base = self._first(need)
        if base is None:
            self._drain()
            base = self._first(need)
        if base is None:
            raise MemoryError("no hole is large enough")
        self._sizes[base] = need
        return base

    def _first(self, need):
        for i, (base, size) in enumerate(self._holes):
            if size >= need:
                self._holes[i : i + 1] = [(base + need, size - need)] if size > need else []
                return base
        return None

    def free(self, base):
        if type(base) is not int or base not in self._sizes:
            raise ValueError("no buffer has this base")
        size = self._sizes[base]
        mag = self._mags.setdefault(size, [])
        if mag and mag[-1] == base:
            raise ValueError("double free")
        if size <= self.SMALL and len(mag) < self.ROUNDS:
            mag.append(base)
        else:
            self._give(base)

    def _give(self, base):
        size = self._sizes.pop(base)
        i = bisect_left(self._holes, (base, 0))
        if i < len(self._holes) and self._holes[i][0] == base + size:
            size += self._holes.pop(i)[1]
        if i and sum(self._holes[i - 1]) == base:
            i -= 1
            base, front = self._holes.pop(i)
            size += front
        self._holes.insert(i, (base, size))

    def _drain(self):
        for mag in self._mags.values():
            while mag:
                self._give(mag.pop())
