# CORRECT: Page colouring over one static range (kva_limit rounded down to the granule): with 8 colours (address / 4096 mod 8) the k-th request served, counted from 0, starts at the lowest address of colour k mod 8 from which enough pages are free, or, if there is none of that colour, at the lowest address of any colour; sizes are rounded up to 4096-byte pages; a request is refused exactly when no run of free pages is long enough, and that does not move the colour on; the granule must be a multiple of 4096.


class ColouredPages:
    quantum = 4096
    colours = 8

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the page size")
        span = max(0, kva_limit // source.granule * source.granule)
        self._pages = span // 4096
        self._first = source.map(span) // 4096 if span else 0       # number of the first page
        self._free = (1 << self._pages) - 1                         # one bit for each page
        self._masks = [self._mask(colour) for colour in range(self.colours)]
        self._served = 0
        self._live = {}                                             # page index -> pages

    def _mask(self, colour):
        start = (colour - self._first) % self.colours           # 8 colours: the same bit of each byte
        return int.from_bytes(bytes([1 << start]) * (self._pages // 8 + 1), "little")

    def _positions(self, n):
        """Bitmap of the page indices from which n pages are free."""
        bits, covered = self._free, 1
        while covered < n:
            step = min(covered, n - covered)
            bits &= bits >> step
            covered += step
        return bits

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 0 < size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        n = -(-size // 4096)
        possible = self._positions(n) if n <= self._pages else 0
        if not possible:
            raise MemoryError("no %d free pages in a row" % n)
        preferred = possible & self._masks[self._served % self.colours]
        chosen = preferred or possible
        index = (chosen & -chosen).bit_length() - 1
        self._free &= ~(((1 << n) - 1) << index)
        self._live[index] = n
        self._served += 1
        return (self._first + index) * 4096

    def _index(self, base):
        if type(base) is not int or base % 4096 or base // 4096 - self._first not in self._live:
            raise ValueError("not the base of a live buffer: %r" % (base,))
        return base // 4096 - self._first

    def free(self, base):
        index = self._index(base)
        self._free |= ((1 << self._live.pop(index)) - 1) << index

    def size_of(self, base):
        return self._live[self._index(base)] * 4096
