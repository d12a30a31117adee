# CORRECT: Slabs plus page runs over arenas: a size up to 2048 takes a slot of the next power of two (at least 16) bytes, the lowest slot of the lowest 4096-byte slab page of that slot size with a free slot; larger sizes, and new slabs, take whole pages from the low end of the lowest large enough hole; without such a hole an arena of arena_size (at most what the limit leaves, at least the pages needed; only those if the source refuses more) is mapped, else the request is refused; an empty slab is a hole at once and an arena that is all hole is unmapped; the granule must be a multiple of 4096.
from bisect import bisect_left, insort

PAGE = 4096


class SlabsAndRuns:
    quantum = 16

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % PAGE:
            raise ValueError("granule must be a multiple of the page size")
        self._source, self._limit, self._arena_size = source, kva_limit, arena_size
        self._arenas = {}       # base -> size
        self._holes = []        # (start, end, arena), sorted
        self._runs = {}         # base -> (bytes, arena); slab pages are runs of one page
        self._slabs = {}        # slab page -> [slot size, bitmap of free slots]
        self._partial = {}      # slot size -> sorted slab pages with a free slot

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 0 < size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if size > PAGE // 2:
            return self._take_run(-(-size // PAGE) * PAGE)
        slot_size = max(16, 1 << (size - 1).bit_length())
        pages = self._partial.get(slot_size)
        if not pages:
            page = self._take_run(PAGE)
            self._slabs[page] = [slot_size, (1 << PAGE // slot_size) - 1]
            pages = self._partial[slot_size] = [page]
        page = pages[0]
        bits = self._slabs[page][1]
        lowest = bits & -bits
        self._slabs[page][1] ^= lowest
        if bits == lowest:
            pages.pop(0)
        return page + (lowest.bit_length() - 1) * slot_size

    def free(self, base):
        if type(base) is not int:
            raise ValueError("an address is an int")
        page = base - base % PAGE
        if page not in self._slabs:
            if base not in self._runs:
                raise ValueError("nothing is live at %#x" % base)
            return self._give_run(base)
        slot_size, bits = self._slabs[page]
        slot, odd = divmod(base - page, slot_size)
        if odd or bits >> slot & 1:
            raise ValueError("no live slot at %#x" % base)
        pages = self._partial.setdefault(slot_size, [])
        if not bits:
            insort(pages, page)
        bits |= 1 << slot
        self._slabs[page][1] = bits
        if bits == (1 << PAGE // slot_size) - 1:
            del self._slabs[page]
            pages.remove(page)
            self._give_run(page)

    def _take_run(self, need):
        hole = next((h for h in self._holes if h[1] - h[0] >= need), None)
        start, end, arena = hole = hole or self._map(need)
        i = bisect_left(self._holes, hole)
        self._holes[i:i + 1] = [(start + need, end, arena)] if start + need < end else []
        self._runs[start] = need, arena
        return start

    def _map(self, need):
        g = self._source.granule
        need = -(-need // g) * g
        room = (self._limit - sum(self._arenas.values())) // g * g
        for size in (max(need, min(room, -(-self._arena_size // g) * g)), need):
            if size <= room:
                try:
                    base = self._source.map(size)
                except MemoryError:
                    continue
                self._arenas[base] = size
                insort(self._holes, (base, base + size, base))
                return base, base + size, base
        raise MemoryError("no pages left")

    def _give_run(self, start):
        size, arena = self._runs.pop(start)
        end = start + size
        i = j = bisect_left(self._holes, (start,))
        if i and self._holes[i - 1][1:] == (start, arena):
            i -= 1
            start = self._holes[i][0]
        if j < len(self._holes) and self._holes[j][::2] == (end, arena):
            end = self._holes[j][1]
            j += 1
        self._holes[i:j] = [(start, end, arena)]
        if end - start == self._arenas[arena]:
            del self._holes[i]
            self._source.unmap(arena, self._arenas.pop(arena))
