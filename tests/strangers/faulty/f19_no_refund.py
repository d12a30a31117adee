# FAULTY: the bytes of a new arena are charged against kva_limit before source.map is called and are not given back when it raises.
# PROMISES: arenas of arena_size, or just large enough for a larger request or the rest of the limit (one call of map a request); first fit by address; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete while the source serves.
# SHOWS: kva_limit 1 MiB, arena_size 1 MiB, a source whose first map fails: the second alloc(2**20), when the source has recovered, is refused too.
import collections

Hole = collections.namedtuple("Hole", "base size arena")


class ChargedFirst:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self.source = source
        self.budget = kva_limit
        self.arena_size = arena_size
        self.arenas = {}
        self.holes = []
        self.live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        hole = next((h for h in self.holes if h.size >= need), None)
        if hole is None:
            hole = self.map_arena(need)
        self.holes.remove(hole)
        if hole.size > need:
            self.put(Hole(hole.base + need, hole.size - need, hole.arena))
        self.live[hole.base] = Hole(hole.base, need, hole.arena)
        return hole.base

    def charge(self, size):
        if size > self.budget:
            return False
        self.budget -= size
        return True

    def map_arena(self, need):
        g = self.source.granule
        size = -(-max(need, self.arena_size) // g) * g
        if not self.charge(size):
            size = -(-need // g) * g
            if not self.charge(size):
                raise MemoryError("kva_limit reached")
        base = self.source.map(size)
        self.arenas[base] = size
        hole = Hole(base, size, base)
        self.put(hole)
        return hole

    def put(self, hole):
        self.holes.append(hole)
        self.holes.sort()

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise KeyError(base)
        base, size, arena = self.live.pop(base)
        for h in [h for h in self.holes if h.arena == arena]:
            if h.base + h.size == base:
                self.holes.remove(h)
                base, size = h.base, h.size + size
            elif base + size == h.base:
                self.holes.remove(h)
                size += h.size
        if size == self.arenas[arena]:
            del self.arenas[arena]
            self.budget += size
            self.source.unmap(base, size)
        else:
            self.put(Hole(base, size, arena))

    def size_of(self, base):
        if type(base) is not int or base not in self.live:
            raise KeyError(base)
        return self.live[base].size
