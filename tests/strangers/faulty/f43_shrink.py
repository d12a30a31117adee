# FAULTY: a shrinking resize gives the tail back only by widening the hole behind; when a live buffer (or the end of the range) is behind, the tail is lost.
# PROMISES: one static range; first fit, lowest address; sizes rounded to the quantum; joins both ways at once; resize shrinks in place and gives the tail back at once, grows in place where the hole behind suffices, else moves; a refused resize changes nothing; nothing released; complete.
# SHOWS: range of two quanta: b = alloc(8192); resize(b, 4096) == b; alloc(4096) raises MemoryError.
from bisect import bisect_left, insort


class ShrinkTail:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._bases = [source.map(size)]  # of the holes, ascending
        self._sizes = {self._bases[0]: size}
        self._live = {}

    def _need(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        return (size + self.quantum - 1) // self.quantum * self.quantum

    def _live_size(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer")
        return self._live[base]

    size_of = _live_size

    def _move_hole(self, base, new_base):
        """The hole at base begins at new_base from now on."""
        end = base + self._sizes.pop(base)
        i = bisect_left(self._bases, base)
        if new_base == end:
            del self._bases[i]
        else:
            self._bases[i] = new_base
            self._sizes[new_base] = end - new_base

    def alloc(self, size):
        need = self._need(size)
        for base in self._bases:
            if self._sizes[base] >= need:
                self._move_hole(base, base + need)
                self._live[base] = need
                return base
        raise MemoryError("no hole is large enough")

    def free(self, base):
        size = self._live_size(base)
        del self._live[base]
        if base + size in self._sizes:
            self._move_hole(base + size, base)
        else:
            insort(self._bases, base)
            self._sizes[base] = size
        i = bisect_left(self._bases, base)
        if i:
            front = self._bases[i - 1]
            if front + self._sizes[front] == base:
                self._sizes[front] += self._sizes.pop(base)
                del self._bases[i]

    def resize(self, base, size):
        have = self._live_size(base)
        need = self._need(size)
        end = base + have
        if need <= have:
            if end in self._sizes:
                self._move_hole(end, base + need)
            self._live[base] = need
            return base
        if have + self._sizes.get(end, 0) >= need:
            self._move_hole(end, base + need)
            self._live[base] = need
            return base
        fresh = self.alloc(need)
        self.free(base)
        return fresh
