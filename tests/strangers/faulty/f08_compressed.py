# FAULTY: addresses are kept as unsigned 32-bit counts of quanta from the first arena, so a buffer in an arena below the first one (or 16 TiB above it) comes back with a wrong base.
# PROMISES: arenas of arena_size, or of the size asked for where that is more or the limit leaves less; best fit, which of equal holes is not promised, low end of the hole; sizes rounded to the quantum; joins both ways inside an arena at once; an empty arena is unmapped at once; complete.
# SHOWS: a source whose second range lies below the first: the first buffer of the second arena has a base outside every mapped range.


class CompressedRefs:
    quantum = 4096
    SHIFT = 12

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        self.source, self.limit, self.arena_size = source, kva_limit, arena_size
        self.mapped = 0
        self.origin = None
        self.arenas = {}  # ref -> (base, size)
        self.holes, self.ends, self.live = {}, {}, {}

    def _ref(self, address):
        return (address - self.origin) >> self.SHIFT & 0xFFFFFFFF

    def _address(self, ref):
        return self.origin + (ref << self.SHIFT)

    def _put(self, ref, n):
        self.holes[ref] = n
        self.ends[ref + n] = ref

    def _pop(self, ref):
        n = self.holes.pop(ref)
        del self.ends[ref + n]
        return n

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must lie in 1..2**63")
        n = (size + self.quantum - 1) >> self.SHIFT
        ref = self._best(n)
        if ref is None:
            ref = self._arena(n << self.SHIFT)
        have = self._pop(ref)
        if have > n:
            self._put(ref + n, have - n)
        self.live[ref] = n
        return self._address(ref)

    def _best(self, n):
        fits = [(have, ref) for ref, have in self.holes.items() if have >= n]
        return min(fits)[1] if fits else None

    def _arena(self, need):
        g = self.source.granule
        for want in (max(need, self.arena_size), need):
            want = -(-want // g) * g
            if self.mapped + want <= self.limit:
                break
        else:
            raise MemoryError("kva_limit")
        self.mapped += want
        try:
            base = self.source.map(want)
        except MemoryError:
            self.mapped -= want
            raise
        if self.origin is None:
            self.origin = base
        ref = self._ref(base)
        self.arenas[ref] = (base, want)
        self._put(ref, want >> self.SHIFT)
        return ref

    def free(self, base):
        if type(base) is not int or self.origin is None:
            raise ValueError("not a live buffer")
        ref = self._ref(base)
        if ref not in self.live or self._address(ref) != base:
            raise ValueError("not a live buffer")
        n = self.live.pop(ref)
        if ref + n in self.holes and ref + n not in self.arenas:
            n += self._pop(ref + n)
        if ref in self.ends and ref not in self.arenas:
            ref = self.ends[ref]
            n += self._pop(ref)
        if ref in self.arenas and self.arenas[ref][1] >> self.SHIFT == n:
            start, size = self.arenas.pop(ref)
            self.mapped -= size
            self.source.unmap(start, size)
        else:
            self._put(ref, n)
