# FAULTY: a run that spans three or more 64-bit words is checked in its first and last word only, so busy pages in the words between are handed out again.
# PROMISES: one static range; bitmap of pages, first fit from the low end; sizes rounded to the quantum; nothing to coalesce or release; complete.
# SHOWS: alloc three buffers of 64 pages, free the first and the third, alloc 192 pages: the answer lies over the second.

FULL = (1 << 64) - 1


class WordBitmap:
    """genalloc-like: pages marked busy in a list of 64-bit words."""

    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size == 0:
            raise ValueError("kva_limit smaller than a granule")
        self._base = source.map(size)
        self._pages = size // self.quantum
        self._words = [0] * (-(-self._pages // 64))
        self._live = {}

    @staticmethod
    def _masks(start, n):
        last = start + n - 1
        return start >> 6, last >> 6, FULL << (start & 63) & FULL, FULL >> (63 - (last & 63))

    def _busy_page(self, start, n):
        """The highest busy page found in start..start+n-1, or -1."""
        first, last, head, tail = self._masks(start, n)
        if first == last:
            head &= tail
        else:
            hit = self._words[last] & tail
            if hit:
                return (last << 6) + hit.bit_length() - 1
        hit = self._words[first] & head
        if hit:
            return (first << 6) + hit.bit_length() - 1
        return -1

    def _mark(self, start, n, busy):
        first, last, head, tail = self._masks(start, n)
        for w in range(first, last + 1):
            mask = FULL
            if w == first:
                mask &= head
            if w == last:
                mask &= tail
            if busy:
                self._words[w] |= mask
            else:
                self._words[w] &= ~mask

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be int")
        if not 1 <= size <= 2**63:
            raise ValueError("bad size")
        n = -(-size // self.quantum)
        pos = 0
        while pos + n <= self._pages:
            hit = self._busy_page(pos, n)
            if hit < 0:
                self._mark(pos, n, True)
                base = self._base + pos * self.quantum
                self._live[base] = n
                return base
            pos = hit + 1
        raise MemoryError("no run of %d pages" % n)

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer")
        n = self._live.pop(base)
        self._mark((base - self._base) // self.quantum, n, False)

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer")
        return self._live[base] * self.quantum
