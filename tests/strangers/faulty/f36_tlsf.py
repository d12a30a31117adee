# FAULTY: a freed block that has a free block in front is joined with that one only (elif), so a free block behind it stays apart.
# PROMISES: one static range; TLSF (16 steps a power of two), good fit from the low end, last freed first in a list, with a scan of the request's own list before a refusal; sizes rounded to the quantum; joins both ways at once; nothing released; complete.
# SHOWS: range of three quanta: alloc a, b, c; free a, free c, free b; alloc(12288) raises MemoryError.


class Tlsf:
    quantum = 4096
    SL = 4

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._lists = {}
        self._map = 0
        self._free = {}  # base -> size
        self._ends = {}  # end -> base
        self._used = {}
        self._insert(source.map(size), size)

    def _index(self, size):
        fl = size.bit_length() - 1
        return (fl << self.SL) + (size >> fl - self.SL) - (1 << self.SL)

    def _insert(self, base, size):
        i = self._index(size)
        self._lists.setdefault(i, {})[base] = size
        self._map |= 1 << i
        self._free[base] = size
        self._ends[base + size] = base

    def _remove(self, base):
        size = self._free.pop(base)
        del self._ends[base + size]
        i = self._index(size)
        del self._lists[i][base]
        if not self._lists[i]:
            self._map &= ~(1 << i)
        return size

    def _search(self, need):
        fl = need.bit_length() - 1
        i = self._index(need + (1 << fl - self.SL) - 1)
        above = self._map >> i
        if above:
            i += (above & -above).bit_length() - 1
            return next(reversed(self._lists[i]))
        for base, size in reversed(self._lists.get(self._index(need), {}).items()):
            if size >= need:
                return base
        return None

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        base = self._search(need)
        if base is None:
            raise MemoryError("no block is large enough")
        have = self._remove(base)
        if have > need:
            self._insert(base + need, have - need)
        self._used[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._used:
            raise KeyError(base)
        size = self._used.pop(base)
        if base in self._ends:
            front = self._ends[base]
            size += self._remove(front)
            base = front
        elif base + size in self._free:
            size += self._remove(base + size)
        self._insert(base, size)

    def size_of(self, base):
        if type(base) is not int or base not in self._used:
            raise KeyError(base)
        return self._used[base]
