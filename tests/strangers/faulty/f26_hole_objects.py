# FAULTY: holes of equal size are ordered by id() (there only to keep the tuples comparable), so which of them is taken is an accident of the interpreter's memory.
# PROMISES: one static range; best fit, the lowest address among holes of equal size, low end; sizes rounded to the quantum; joins both ways at once; nothing released; complete; the same calls give the same bases.
# SHOWS: twenty-four holes of one quantum, freed in a mixed order: twenty-four alloc(4096) do not come back in address order.
from bisect import bisect_left, insort


class _Hole:
    __slots__ = ("base", "size")

    def __init__(self, base, size):
        self.base = base
        self.size = size


class HoleObjects:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if not size:
            raise ValueError("kva_limit")
        self._order = []
        self._from, self._upto = {}, {}
        self._live = {}
        self._add(_Hole(source.map(size), size))

    def _key(self, hole):
        return (hole.size, id(hole), hole)

    def _add(self, hole):
        insort(self._order, self._key(hole))
        self._from[hole.base] = hole
        self._upto[hole.base + hole.size] = hole

    def _remove(self, hole):
        del self._order[bisect_left(self._order, self._key(hole))]
        del self._from[hole.base]
        del self._upto[hole.base + hole.size]

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("int only")
        if not 1 <= size <= 2**63:
            raise ValueError("1..2**63 only")
        need = -(-size // self.quantum) * self.quantum
        i = bisect_left(self._order, (need,))
        if i == len(self._order):
            raise MemoryError("nothing of that size")
        hole = self._order[i][-1]
        self._remove(hole)
        base = hole.base
        if hole.size > need:
            self._add(_Hole(base + need, hole.size - need))
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError("not live: %r" % (base,))
        hole = _Hole(base, self._live.pop(base))
        behind = self._from.get(base + hole.size)
        if behind is not None:
            self._remove(behind)
            hole.size += behind.size
        front = self._upto.get(base)
        if front is not None:
            self._remove(front)
            hole.base = front.base
            hole.size += front.size
        self._add(hole)

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError("not live: %r" % (base,))
        return self._live[base]
