# FAULTY: free joins a block with its buddy address when any free block begins there, whatever its order, so it swallows memory that is live behind a smaller free block.
# PROMISES: one static range, cut into aligned powers of two of the quantum; binary buddy, smallest order that fits, lowest block of it; sizes rounded to a power of two quanta; buddies of equal order join at once; nothing released; serves whenever a free block of the order exists or a larger one.
# SHOWS: a = alloc(8192), b = alloc(4096), c = alloc(4096); free b; free a: a is joined with b's 4096 bytes as if they were 8192, and alloc(16384) lies over c.


class Buddy:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        self._pages = size // self.quantum
        if not self._pages:
            raise ValueError("kva_limit below one page")
        self._base = source.map(size)
        self._free = {}  # page -> order
        self._by_order = {}  # order -> set of pages
        self._used = {}  # page -> order
        page = 0
        while page < self._pages:
            order = (self._pages - page).bit_length() - 1
            if page:
                order = min(order, (page & -page).bit_length() - 1)
            self._push(page, order)
            page += 1 << order

    def _push(self, page, order):
        self._free[page] = order
        self._by_order.setdefault(order, set()).add(page)

    def _pull(self, page):
        order = self._free.pop(page)
        self._by_order[order].discard(page)

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        order = (-(-size // self.quantum) - 1).bit_length()
        have = min((o for o, pages in self._by_order.items() if pages and o >= order), default=None)
        if have is None:
            raise MemoryError("no block of order %d or more" % order)
        page = min(self._by_order[have])
        self._pull(page)
        while have > order:
            have -= 1
            self._push(page + (1 << have), have)
        self._used[page] = order
        return self._base + page * self.quantum

    def _page(self, base):
        if type(base) is not int:
            raise ValueError("base must be an int")
        page, odd = divmod(base - self._base, self.quantum)
        if odd or page not in self._used:
            raise ValueError("no live block at %#x" % base)
        return page

    def free(self, base):
        page = self._page(base)
        order = self._used.pop(page)
        while True:
            buddy = page ^ (1 << order)
            if buddy not in self._free:
                break
            self._pull(buddy)
            page = min(page, buddy)
            order += 1
        self._push(page, order)

    def size_of(self, base):
        return self.quantum << self._used[self._page(base)]
