# CORRECT: Power-of-two rounding without buddies over one static range (kva_limit rounded down to the granule): a request takes the next power of two of 4096-byte pages, placed at the lowest page from which that many pages are free (no alignment beyond the page); refused exactly when no such run exists, which means that sizes whose rounding exceeds the range are always refused; the range is never given back; the granule must be a multiple of 4096.


class Pow2Bitmap:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be whole pages")
        span = kva_limit // source.granule * source.granule
        self._pages = max(0, span) // 4096
        self._base = source.map(span) if self._pages else 0
        self._free = (1 << self._pages) - 1     # bit i: page i is free
        self._count = {}                        # first page -> pages taken

    def _lowest_run(self, n):
        """Index of the lowest run of n free pages, or -1."""
        runs, have = self._free, 1
        while have < n and runs:
            step = min(have, n - have)
            runs &= runs >> step
            have += step
        return (runs & -runs).bit_length() - 1

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 0 < size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        pages = 1 << ((size + 4095) // 4096 - 1).bit_length()
        first = self._lowest_run(pages) if pages <= self._pages else -1
        if first < 0:
            raise MemoryError("no run of %d pages" % pages)
        self._free ^= ((1 << pages) - 1) << first
        self._count[first] = pages
        return self._base + first * 4096

    def _page_of(self, base):
        if type(base) is int:
            page, rest = divmod(base - self._base, 4096)
            if not rest and page in self._count:
                return page
        raise ValueError("%r is not the base of a live buffer" % (base,))

    def free(self, base):
        page = self._page_of(base)
        self._free |= ((1 << self._count.pop(page)) - 1) << page

    def size_of(self, base):
        return self._count[self._page_of(base)] * 4096
