# CORRECT: Binary buddies by absolute address over one static range (kva_limit rounded down to the granule): the range is cut into the largest possible blocks whose power-of-two size divides their address, a request is rounded up to a power of two of at least 4096 bytes and gets an address that is a multiple of that, from the smallest block that holds it (lowest of equals), split down keeping the lower half; freed blocks merge with their buddy (address xor size) as far as possible; refused exactly when no free block is large enough; the granule must be a multiple of 4096.


class AbsoluteBuddies:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self._free = {}         # order -> set of addresses of free blocks of 2**order bytes
        self._order = {}        # base of a live block -> order
        span = kva_limit // source.granule * source.granule
        if span > 0:
            at = source.map(span)
            end = at + span
            while at < end:
                order = (end - at).bit_length() - 1
                if at:
                    order = min(order, (at & -at).bit_length() - 1)
                self._release(at, order)
                at += 1 << order

    def _release(self, at, order):
        self._free.setdefault(order, set()).add(at)

    def _acquire(self, at, order):
        blocks = self._free[order]
        blocks.remove(at)
        if not blocks:
            del self._free[order]

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        wanted = max(12, (size - 1).bit_length())
        order = min((k for k in self._free if k >= wanted), default=None)
        if order is None:
            raise MemoryError("no free block of 2**%d bytes" % wanted)
        at = min(self._free[order])
        self._acquire(at, order)
        while order > wanted:
            order -= 1
            self._release(at + (1 << order), order)
        self._order[at] = order
        return at

    def free(self, base):
        if type(base) is not int or base not in self._order:
            raise ValueError("not the base of a live block")
        order = self._order.pop(base)
        while (buddy := base ^ 1 << order) in self._free.get(order, ()):
            self._acquire(buddy, order)
            base &= ~(1 << order)
            order += 1
        self._release(base, order)

    def size_of(self, base):
        if type(base) is not int or base not in self._order:
            raise ValueError("not the base of a live block")
        return 1 << self._order[base]
