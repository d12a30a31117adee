# FAULTY: the mask of arenas with room is cut to 32 bits, so arenas in slots 32 and up are never looked into again after their first buffer.
# PROMISES: arenas of arena_size (or just large enough) in slots; lowest slot with room first, lowest run of pages in it; sizes rounded to the quantum; an arena is unmapped as soon as it is empty; complete.
# SHOWS: 33 arenas of 64 KiB in use and the limit reached, the last one with 15 free pages and the others full: alloc(4096) raises MemoryError.


class _Arena:
    __slots__ = ("base", "size", "free", "all")

    def __init__(self, base, size, pages):
        self.base, self.size = base, size
        self.free = self.all = (1 << pages) - 1


def _lowest_run(bits, n):
    """Index of the lowest run of n set bits, or -1."""
    have = 1
    while have < n and bits:
        step = min(have, n - have)
        bits &= bits >> step
        have += step
    return (bits & -bits).bit_length() - 1


class MaskArenas:
    quantum = 4096
    WORD = 0xFFFFFFFF

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self._src = source
        self._limit = kva_limit
        self._asize = arena_size
        self._mapped = 0
        self._slots = []
        self._room = 0
        self._owner = {}

    def alloc(self, size):
        if not isinstance(size, int) or size is True or size is False:
            raise TypeError("size: int wanted")
        if not 0 < size <= 2**63:
            raise ValueError("size out of range")
        pages = -(-size // self.quantum)
        base = self._search(pages)
        return self._take(self._grow(pages * self.quantum), pages) if base is None else base

    def _search(self, pages):
        room = self._room
        while room:
            slot = (room & -room).bit_length() - 1
            base = self._take(slot, pages)
            if base is not None:
                return base
            room &= room - 1
        return None

    def _take(self, slot, pages):
        arena = self._slots[slot]
        if pages > arena.size // self.quantum:
            return None
        at = _lowest_run(arena.free, pages)
        if at < 0:
            return None
        arena.free &= ~(((1 << pages) - 1) << at)
        self._mark(slot)
        base = arena.base + at * self.quantum
        self._owner[base] = (slot, at, pages)
        return base

    def _mark(self, slot):
        if self._slots[slot] is not None and self._slots[slot].free:
            self._room = (self._room | 1 << slot) & self.WORD
        else:
            self._room &= ~(1 << slot)

    def _grow(self, need):
        g = self._src.granule
        want = -(-max(need, self._asize) // g) * g
        if self._mapped + want > self._limit:
            want = -(-need // g) * g
            if self._mapped + want > self._limit:
                raise MemoryError("kva_limit reached")
        self._mapped += want
        try:
            base = self._src.map(want)
        except BaseException:
            self._mapped -= want
            raise
        arena = _Arena(base, want, want // self.quantum)
        if None in self._slots:
            slot = self._slots.index(None)
            self._slots[slot] = arena
        else:
            slot = len(self._slots)
            self._slots.append(arena)
        self._mark(slot)
        return slot

    def free(self, base):
        if type(base) is not int or base not in self._owner:
            raise KeyError(base)
        slot, at, pages = self._owner.pop(base)
        arena = self._slots[slot]
        arena.free |= ((1 << pages) - 1) << at
        if arena.free == arena.all:
            self._slots[slot] = None
            self._mapped -= arena.size
        self._mark(slot)
        if self._slots[slot] is None:
            self._src.unmap(arena.base, arena.size)
