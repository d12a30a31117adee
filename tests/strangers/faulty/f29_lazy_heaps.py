# FAULTY: holes that vanish by joining stay behind as stale entries in the heap of their class and are never swept, so memory can grow with every alloc and free though nothing is live.
# PROMISES: one static range; power-of-two classes, lowest address in the first class where every hole fits, else lowest fitting hole; low end; sizes rounded to the quantum; joins both ways at once; nothing released; complete; memory in proportion to holes and live buffers.
# SHOWS: 20,000 times free(alloc(786432)) on a range of 1 MiB: the heap of the 256 KiB class holds 20,000 entries for no hole at all.
import heapq


class LazyHeaps:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._heaps = [[] for _ in range(65)]
        self._holes = {}
        self._ends = {}
        self._live = {}
        self._add(source.map(size), size)

    @staticmethod
    def _class(size):
        return min(size.bit_length() - 1, 64)

    def _add(self, base, size):
        self._holes[base] = size
        self._ends[base + size] = base
        heapq.heappush(self._heaps[self._class(size)], base)

    def _remove(self, base):
        size = self._holes.pop(base)
        del self._ends[base + size]
        return size

    def _top(self, k):
        """The lowest hole of class k; stale entries on top are dropped."""
        heap = self._heaps[k]
        while heap:
            size = self._holes.get(heap[0])
            if size is not None and self._class(size) == k:
                return heap[0]
            heapq.heappop(heap)
        return None

    def _find(self, need):
        for k in range(self._class(need - 1) + 1, 65):
            base = self._top(k)
            if base is not None:
                heapq.heappop(self._heaps[k])
                return base
        return min((b for b, s in self._holes.items() if s >= need), default=None)

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
            self._add(base + need, have - need)
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("not a live buffer")
        size = self._live.pop(base)
        if base + size in self._holes:
            size += self._remove(base + size)
        if base in self._ends:
            base = self._ends[base]
            size += self._remove(base)
        self._add(base, size)
