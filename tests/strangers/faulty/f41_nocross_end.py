# FAULTY: nocross is tested with the end of the buffer instead of its last byte, so a buffer that ends just on a boundary counts as crossing it.
# PROMISES: one static range; xalloc and alloc take the lowest address that meets every constraint; align and nocross powers of two or 0 for none, nocross at least the rounded size; hi inclusive; sizes, align, phase in quanta; joins both ways at once; nothing released; complete.
# SHOWS: a fresh range of 64 KiB at 0: xalloc(16384, nocross=16384) raises MemoryError instead of returning 0.


class NoCross:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit - kva_limit % source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._free = [(source.map(size), size)]
        self._live = {}

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0, nocross=0, lo=0, hi=(1 << 64) - 1):
        need, align = self._check(size, align, phase, nocross, lo, hi)
        for i, (base, have) in enumerate(self._free):
            start = self._start(max(base, lo), need, align, phase, nocross)
            if start is None or start + need > base + have or start + need - 1 > hi:
                continue
            pieces = [(base, start - base), (start + need, base + have - start - need)]
            self._free[i : i + 1] = [piece for piece in pieces if piece[1]]
            self._live[start] = need
            return start
        raise MemoryError("no place meets the constraints")

    def _check(self, size, align, phase, nocross, lo, hi):
        if not all(type(value) is int for value in (size, align, phase, nocross, lo, hi)):
            raise TypeError("every argument must be an int")
        if not 1 <= size <= 1 << 63:
            raise ValueError("size")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        if align < 0 or align & (align - 1):
            raise ValueError("align")
        align = max(align, self.quantum)
        if not 0 <= phase < align or phase % self.quantum:
            raise ValueError("phase")
        if nocross < 0 or nocross & (nocross - 1) or 0 < nocross < need:
            raise ValueError("nocross")
        if lo < 0 or hi < lo or hi >= 1 << 64:
            raise ValueError("lo, hi")
        return need, align

    @staticmethod
    def _start(start, need, align, phase, nocross):
        start += (phase - start) % align
        if nocross and start // nocross != (start + need) // nocross:
            start = (start // nocross + 1) * nocross  # from the next boundary on
            start += (phase - start) % align
            if start // nocross != (start + need) // nocross:
                return None
        return start

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        freed = (base, self._live.pop(base))
        joined = []
        for base, size in sorted(self._free + [freed]):
            if joined and sum(joined[-1]) == base:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((base, size))
        self._free = joined
