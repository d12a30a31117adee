# FAULTY: the length of a run is kept (minus one) in the low eight bits of its page descriptor, so a free of more than 256 pages gives back only part of them.
# PROMISES: one static range; first fit, lowest run of pages; sizes rounded to the quantum; free pages join by themselves; nothing released; complete.
# SHOWS: a range of 300 pages: alloc 300 pages, free them, alloc 300 pages again raises MemoryError.
import array

HEAD = 0x8000
LENGTH = 0x00FF


class PageMap:
    """One byte of state and one 16-bit descriptor a page."""

    quantum = 4096

    def __init__(self, source, *, kva_limit):
        span = kva_limit - kva_limit % source.granule
        if span <= 0:
            raise ValueError("nothing to manage")
        self._start = source.map(span)
        self._count = span // self.quantum
        self._state = bytearray(self._count)
        self._desc = array.array("H", [0]) * self._count

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an integer")
        if size <= 0 or size > 1 << 63:
            raise ValueError("size must be in 1..2**63")
        pages = (size + self.quantum - 1) // self.quantum
        if pages > self._count:
            raise MemoryError("larger than the range")
        at = self._state.find(bytes(pages))
        if at < 0:
            raise MemoryError("no run of free pages is long enough")
        self._state[at : at + pages] = b"\1" * pages
        self._desc[at] = HEAD | (pages - 1) & LENGTH
        return self._start + at * self.quantum

    def free(self, base):
        at = self._head(base)
        pages = (self._desc[at] & LENGTH) + 1
        self._desc[at] = 0
        self._state[at : at + pages] = bytes(pages)

    def _head(self, base):
        if type(base) is not int:
            raise ValueError("base must be an int")
        at, odd = divmod(base - self._start, self.quantum)
        if odd or not 0 <= at < self._count or not self._desc[at] & HEAD:
            raise ValueError("no buffer begins at %#x" % base)
        return at

    def stats(self):
        runs = [len(run) for run in bytes(self._state).split(b"\1") if run]
        free = self._state.count(0) * self.quantum
        mapped = self._count * self.quantum
        return {
            "mapped": mapped,
            "free": free,
            "live": mapped - free,
            "largest_hole": max(runs, default=0) * self.quantum,
            "holes": len(runs),
        }
