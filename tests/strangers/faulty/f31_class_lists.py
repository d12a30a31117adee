# FAULTY: a hole leaves its class with list.remove, which is linear in the holes of that class, though constant work is promised for alloc and free.
# PROMISES: one static range; segregated lists, one for each size in quanta below 32 and one for each power of two above; a non-empty list of larger holes is found from a bit mask, and the last hole put in it is taken; sizes rounded to the quantum; joins both ways at once; nothing released; constant work except for a scan of one list when nothing larger is left; complete.
# SHOWS: 20,000 holes of one quantum, then allocs and frees in place of the first ones: each free compares its way through the list (hundreds of microseconds instead of one).


class ClassLists:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._lists = {}
        self._mask = 0
        self._size, self._start = {}, {}
        self._live = {}
        self._insert(source.map(size), size)

    def _class(self, size):
        pages = size // self.quantum
        return pages if pages < 32 else 27 + pages.bit_length()

    def _insert(self, base, size):
        k = self._class(size)
        self._lists.setdefault(k, []).append(base)
        self._mask |= 1 << k
        self._size[base] = size
        self._start[base + size] = base

    def _remove(self, base):
        size = self._size.pop(base)
        del self._start[base + size]
        k = self._class(size)
        self._lists[k].remove(base)
        if not self._lists[k]:
            self._mask &= ~(1 << k)
        return size

    def _find(self, need):
        k = self._class(need)
        if k < 32 and self._mask >> k & 1:
            return self._lists[k][-1]
        above = self._mask >> (k + 1)
        if above:
            return self._lists[k + (above & -above).bit_length()][-1]
        for base in self._lists.get(k, ()):
            if self._size[base] >= need:
                return base
        return None

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        base = self._find(need)
        if base is None:
            raise MemoryError("no hole is large enough")
        have = self._remove(base)
        if have > need:
            self._insert(base + need, have - need)
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError(f"not live: {base!r}")
        size = self._live.pop(base)
        if base + size in self._size:
            size += self._remove(base + size)
        if base in self._start:
            base = self._start[base]
            size += self._remove(base)
        self._insert(base, size)
