# FAULTY: xalloc's default for align is None, and an explicit align=0 (which is to mean "none") is taken for a bad alignment and raises ValueError.
# PROMISES: one static range; alloc is best fit from the low end; xalloc takes the smallest hole that meets the constraints (lowest among equals), lowest place in it; 0 means no align, no nocross; hi inclusive; sizes, align, phase in quanta; joins both ways at once; nothing released; complete.
# SHOWS: xalloc(4096, align=0) on a fresh range raises ValueError.
import bisect


class DrmLike:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        total = kva_limit // source.granule * source.granule
        if not total:
            raise ValueError("kva_limit")
        base = source.map(total)
        self._nodes = [[base, total, False]]  # address order: base, size, busy

    def _locate(self, base):
        if type(base) is int:
            i = bisect.bisect_left(self._nodes, [base])
            if i < len(self._nodes) and self._nodes[i][0] == base and self._nodes[i][2]:
                return i
        raise ValueError(f"not allocated: {base!r}")

    def _size(self, size):
        if type(size) is not int:
            raise TypeError("size is to be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size is out of range")
        return -(-size // self.quantum) * self.quantum

    def alloc(self, size):
        return self._insert(self._size(size), self.quantum, 0, 0, 0, 2**64 - 1)

    def xalloc(self, size, *, align=None, phase=0, nocross=0, lo=0, hi=2**64 - 1):
        need = self._size(size)
        if align is None:
            align = self.quantum
        if any(type(v) is not int for v in (align, phase, nocross, lo, hi)):
            raise TypeError("the constraints are ints")
        if align <= 0 or align & align - 1:
            raise ValueError("align is not a power of two")
        align = max(align, self.quantum)
        if phase % self.quantum or not 0 <= phase < align:
            raise ValueError("bad phase")
        if nocross and (nocross & nocross - 1 or nocross < need):
            raise ValueError("bad nocross")
        if not 0 <= lo <= hi < 2**64:
            raise ValueError("bad lo or hi")
        return self._insert(need, align, phase, nocross, lo, hi)

    def _insert(self, need, align, phase, nocross, lo, hi):
        best = None
        for i, (base, size, busy) in enumerate(self._nodes):
            if busy or size < need or (best is not None and size >= best[0]):
                continue
            start = max(base, lo)
            start += (phase - start) % align
            if nocross and (start ^ start + need - 1) & -nocross:
                start = (start | nocross - 1) + 1
                start += (phase - start) % align
                if (start ^ start + need - 1) & -nocross:
                    continue
            if start + need <= base + size and start + need - 1 <= hi:
                best = (size, i, start)
        if best is None:
            raise MemoryError("nothing fits")
        size, i, start = best
        base = self._nodes[i][0]
        pieces = [[base, start - base, False], [start, need, True]]
        pieces.append([start + need, base + size - start - need, False])
        self._nodes[i : i + 1] = [p for p in pieces if p[1]]
        return start

    def free(self, base):
        i = self._locate(base)
        self._nodes[i][2] = False
        for j in (i, i - 1):
            if 0 <= j < len(self._nodes) - 1 and not self._nodes[j][2] and not self._nodes[j + 1][2]:
                self._nodes[j][1] += self._nodes.pop(j + 1)[1]

    def size_of(self, base):
        return self._nodes[self._locate(base)][1]
