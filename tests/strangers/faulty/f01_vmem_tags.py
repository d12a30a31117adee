# FAULTY: the pool of 257 boundary tags made at start is never refilled, so the 257th live buffer is refused however much room is left.
# PROMISES: one static range; first fit from the low end; sizes rounded to the quantum; holes join both ways at once; nothing is released; complete (serves whenever one hole is large enough).
# SHOWS: a range of 2 MiB with 256 one-quantum buffers live, then one more alloc(4096) raises MemoryError.


class _Tag:
    __slots__ = ("base", "size", "busy", "prev", "next")


class VmemTags:
    """A vmem in the small: one address-ordered list of boundary tags."""

    quantum = 4096
    BOOT_TAGS = 257

    def __init__(self, source, *, kva_limit):
        size = kva_limit - kva_limit % source.granule
        if size <= 0:
            raise ValueError("kva_limit is below one granule")
        self._spare = [_Tag() for _ in range(self.BOOT_TAGS)]
        tag = self._spare.pop()
        tag.base, tag.size, tag.busy = source.map(size), size, False
        tag.prev = tag.next = None
        self._head = tag
        self._busy = {}

    def alloc(self, size):
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError("size must be an int")
        if not 1 <= size <= 1 << 63:
            raise ValueError("size out of range")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        tag = self._head
        while tag is not None and (tag.busy or tag.size < need):
            tag = tag.next
        if tag is None:
            raise MemoryError("no hole of %d bytes" % need)
        if tag.size > need:
            if not self._spare:
                raise MemoryError("out of boundary tags")
            rest = self._spare.pop()
            rest.base, rest.size, rest.busy = tag.base + need, tag.size - need, False
            rest.prev, rest.next = tag, tag.next
            if tag.next is not None:
                tag.next.prev = rest
            tag.next = rest
            tag.size = need
        tag.busy = True
        self._busy[tag.base] = tag
        return tag.base

    def size_of(self, base):
        if type(base) is not int or base not in self._busy:
            raise KeyError(base)
        return self._busy[base].size

    def free(self, base):
        if type(base) is not int or base not in self._busy:
            raise KeyError(base)
        tag = self._busy.pop(base)
        tag.busy = False
        if tag.next is not None and not tag.next.busy:
            self._absorb_next(tag)
        if tag.prev is not None and not tag.prev.busy:
            self._absorb_next(tag.prev)

    def _absorb_next(self, tag):
        gone = tag.next
        tag.size += gone.size
        tag.next = gone.next
        if gone.next is not None:
            gone.next.prev = tag
        gone.prev = gone.next = None
        self._spare.append(gone)
