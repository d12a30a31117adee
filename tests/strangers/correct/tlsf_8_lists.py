# CORRECT: TLSF with 8 second-level lists per power of two over one static range (kva_limit rounded down to the granule): sizes are rounded up to 4096-byte pages; for the search only the page count is further rounded up to the next list boundary (nothing below 8 pages), the first non-empty list from there on gives its most recently filed hole, carved from its low end; a request is refused when all those lists are empty, even if a hole further down would do; freed space merges at once and the range is never given back; the granule must be a multiple of 4096.

SL = 3      # log2 of the number of second-level lists


def _split(pages):
    """First and second level index of a number of pages."""
    if pages < 1 << SL:
        return 0, pages
    fl = pages.bit_length() - 1
    return fl - SL + 1, (pages >> (fl - SL)) & ((1 << SL) - 1)


class Tlsf8:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of the quantum")
        self._fl_map = 0
        self._sl_map = {}       # fl -> bits
        self._lists = {}        # (fl, sl) -> {start: None}, the newest last
        self._hole_at = {}      # start -> pages
        self._hole_to = {}      # end -> start
        self._used = {}         # base -> pages
        span = kva_limit // source.granule * source.granule
        if span > 0:
            self._file(source.map(span), span // 4096)

    def _file(self, start, pages):
        fl, sl = _split(pages)
        self._lists.setdefault((fl, sl), {})[start] = None
        self._sl_map[fl] = self._sl_map.get(fl, 0) | 1 << sl
        self._fl_map |= 1 << fl
        self._hole_at[start] = pages
        self._hole_to[start + pages * 4096] = start

    def _unfile(self, start):
        pages = self._hole_at.pop(start)
        del self._hole_to[start + pages * 4096]
        fl, sl = _split(pages)
        del self._lists[fl, sl][start]
        if not self._lists[fl, sl]:
            del self._lists[fl, sl]
            self._sl_map[fl] &= ~(1 << sl)
            if not self._sl_map[fl]:
                del self._sl_map[fl]
                self._fl_map &= ~(1 << fl)
        return pages

    def _search(self, pages):
        if pages >= 1 << SL:
            pages += (1 << (pages.bit_length() - 1 - SL)) - 1
        fl, sl = _split(pages)
        bits = self._sl_map.get(fl, 0) >> sl << sl
        if not bits:
            higher = self._fl_map >> (fl + 1) << (fl + 1)
            if not higher:
                raise MemoryError("no list with a hole that is surely large enough")
            fl = (higher & -higher).bit_length() - 1
            bits = self._sl_map[fl]
        return next(reversed(self._lists[fl, (bits & -bits).bit_length() - 1]))

    def alloc(self, size):
        if type(size) is not int or not 1 <= size <= 2**63:
            raise ValueError("size must be an int in 1..2**63")
        pages = (size + 4095) >> 12
        start = self._search(pages)
        have = self._unfile(start)
        if have > pages:
            self._file(start + pages * 4096, have - pages)
        self._used[start] = pages
        return start

    def free(self, base):
        if type(base) is not int or base not in self._used:
            raise ValueError("no live buffer starts there")
        pages = self._used.pop(base)
        if base + pages * 4096 in self._hole_at:
            pages += self._unfile(base + pages * 4096)
        if base in self._hole_to:
            base = self._hole_to[base]
            pages += self._unfile(base)
        self._file(base, pages)
