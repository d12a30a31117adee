# FAULTY: the aligned start is masked to 64 bits, so in a range at the top of the address space a large align wraps it to 0, which passes the test against the hole's end.
# PROMISES: one static range; xalloc and alloc take the lowest address that meets every constraint; sizes, align and phase are in quanta (an align below the quantum counts as the quantum); hi is inclusive; joins both ways at once; nothing released; complete.
# SHOWS: a range of 1 MiB that ends at 2**64: xalloc(4096, align=2**32) returns 0, outside the range.
from bisect import bisect_left

M64 = 2**64 - 1


class TopAligned:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit - kva_limit % source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        base = source.map(size)
        self._holes = [(base, base + size)]
        self._live = {}

    def alloc(self, size):
        return self.xalloc(size)

    def xalloc(self, size, *, align=0, phase=0, nocross=0, lo=0, hi=M64):
        for value in (size, align, phase, nocross, lo, hi):
            if type(value) is not int:
                raise TypeError("every argument is an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size")
        need = -(-size // self.quantum) * self.quantum
        if align < 0 or align & (align - 1) or nocross < 0 or nocross & (nocross - 1):
            raise ValueError("align and nocross are powers of two")
        if phase % self.quantum or not 0 <= phase < max(align, 1):
            raise ValueError("phase")
        if nocross and nocross < need:
            raise ValueError("nocross is below the size")
        if not 0 <= lo <= hi <= M64:
            raise ValueError("lo and hi")
        align = max(align, self.quantum)
        for i, (base, end) in enumerate(self._holes):
            start = self._place(max(base, lo), need, align, phase, nocross)
            if start is not None and start + need <= min(end, hi + 1):
                self._cut(i, start, start + need)
                self._live[start] = need
                return start
        raise MemoryError("no hole meets the constraints")

    @staticmethod
    def _place(start, need, align, phase, nocross):
        for _ in range(2):
            start = (start + (phase - start & align - 1)) & M64
            if not nocross or start // nocross == (start + need - 1) // nocross:
                return start
            start = (start // nocross + 1) * nocross
        return None

    def _cut(self, i, start, stop):
        base, end = self._holes[i]
        parts = []
        if base < start:
            parts.append((base, start))
        if stop < end:
            parts.append((stop, end))
        self._holes[i : i + 1] = parts

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live base")
        end = base + self._live.pop(base)
        i = bisect_left(self._holes, (base, 0))
        if i < len(self._holes) and self._holes[i][0] == end:
            end = self._holes.pop(i)[1]
        if i and self._holes[i - 1][1] == base:
            i -= 1
            base = self._holes.pop(i)[0]
        self._holes.insert(i, (base, end))
