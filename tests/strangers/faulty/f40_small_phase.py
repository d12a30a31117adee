# FAULTY: alignments up to a page take a short cut (round up by mask) that leaves the phase out.
# PROMISES: quantum 256; one static range; xalloc and alloc: smallest hole that meets the constraints (lowest among equals), lowest place in it; sizes, align and phase in quanta of 256; lo and hi (inclusive) bound the whole buffer; joins both ways at once; nothing released; complete.
# SHOWS: xalloc(256, align=1024, phase=512) on a fresh range at 0 returns 0 instead of 512.


class SmallPhase:
    quantum = 256
    PAGE = 4096
    TOP = 2**64 - 1

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        base = source.map(size)
        self._holes = {base: base + size}
        self._ends = {base + size: base}
        self._live = {}

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0, lo=0, hi=TOP):
        for value in (size, align, phase, lo, hi):
            if type(value) is not int:
                raise TypeError("ints only")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if align < 0 or align & (align - 1):
            raise ValueError("align must be 0 or a power of two")
        align = max(align, self.quantum)
        if phase % self.quantum or not 0 <= phase < align:
            raise ValueError("phase must be below align, in quanta")
        if not 0 <= lo <= hi <= self.TOP:
            raise ValueError("lo..hi must lie in the address space")
        need = -(-size // self.quantum) * self.quantum
        fits = []
        for base, end in self._holes.items():
            start = self._align(max(base, lo), align, phase)
            if start + need <= min(end, hi + 1):
                fits.append((end - base, base, start))
        if not fits:
            raise MemoryError("no hole meets the constraints")
        _, base, start = min(fits)
        end = self._del(base)
        self._add(base, start)
        self._add(start + need, end)
        self._live[start] = need
        return start

    def _align(self, start, align, phase):
        if align <= self.PAGE:
            return (start + align - 1) & -align
        return start + (phase - start) % align

    def _add(self, base, end):
        if base < end:
            self._holes[base] = end
            self._ends[end] = base

    def _del(self, base):
        end = self._holes.pop(base)
        del self._ends[end]
        return end

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        end = base + self._live.pop(base)
        if end in self._holes:
            end = self._del(end)
        if base in self._ends:
            base = self._ends[base]
            self._del(base)
        self._add(base, end)

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        return self._live[base]
