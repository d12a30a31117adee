# CORRECT: First fit from the high end, over arenas: sizes are rounded up to 4096-byte pages, the lowest hole (by address, over all arenas) that is large enough is taken and the buffer is cut from that hole's high end; without such a hole an arena is mapped (arena_size, less if the limit leaves less, at least the size itself; just the size if the source will not give more), else the request is refused; an arena without live buffers is unmapped at once; the granule must be a multiple of 4096.
from bisect import bisect, insort
from dataclasses import dataclass, field


@dataclass(order=True)
class _Arena:
    base: int
    size: int
    holes: list = field(default_factory=list, compare=False)     # [start, end] by address


class HighEndFirstFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % 4096:
            raise ValueError("granule must be whole pages")
        self.source = source
        self.kva_limit = kva_limit
        self.arena_size = arena_size
        self.arenas = []
        self.buffers = {}       # base -> (end, arena)

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 2**63:
            raise ValueError(f"size {size!r} is not an int in 1..2**63")
        need = -(-size // 4096) * 4096
        fitting = ((arena, hole) for arena in self.arenas for hole in arena.holes
                   if hole[1] - hole[0] >= need)
        arena, hole = next(fitting, None) or self.new_arena(need)
        end = hole[1]
        base = end - need
        if base == hole[0]:
            arena.holes.remove(hole)
        else:
            hole[1] = base
        self.buffers[base] = end, arena
        return base

    def new_arena(self, need):
        granule = self.source.granule
        least = -(-need // granule) * granule
        room = self.kva_limit - sum(a.size for a in self.arenas)
        room -= room % granule
        if least > room:
            raise MemoryError("limit reached")
        usual = -(-self.arena_size // granule) * granule
        best = max(least, min(usual, room))
        try:
            base, size = self.source.map(best), best
        except MemoryError:
            if best == least:
                raise
            base, size = self.source.map(least), least
        arena = _Arena(base, size, [[base, base + size]])
        insort(self.arenas, arena)
        return arena, arena.holes[0]

    def free(self, base):
        if type(base) is not int or base not in self.buffers:
            raise ValueError(f"{base!r} is not the base of a live buffer")
        end, arena = self.buffers.pop(base)
        holes = arena.holes
        at = bisect(holes, [base])
        holes.insert(at, [base, end])
        if at + 1 < len(holes) and holes[at + 1][0] == end:
            holes[at][1] = holes.pop(at + 1)[1]
        if at and holes[at - 1][1] == base:
            holes[at - 1][1] = holes.pop(at)[1]
        if holes[0] == [arena.base, arena.base + arena.size]:
            self.arenas.remove(arena)
            self.source.unmap(arena.base, arena.size)

    def size_of(self, base):
        if type(base) is not int or base not in self.buffers:
            raise ValueError(f"{base!r} is not the base of a live buffer")
        return self.buffers[base][0] - base
