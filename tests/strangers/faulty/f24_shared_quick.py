# FAULTY: the quick lists are a class attribute, so a second allocator of the class hands out buffers that were freed into the first.
# PROMISES: one static range each; quick lists for sizes up to 8 quanta (last freed first), the rest first fit from the low end; sizes rounded to the quantum; quick lists are emptied before a refusal and then join with their neighbours; nothing released; complete.
# SHOWS: two allocators: first.free(first.alloc(4096)); second.alloc(4096) returns a base of the first one's range.
import bisect


class QuickLists:
    quantum = 4096
    quick = {n: [] for n in range(1, 9)}

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit")
        base = source.map(size)
        self.starts, self.stops = [base], [base + size]
        self.live = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size is no int")
        if not 1 <= size <= 1 << 63:
            raise ValueError("size out of range")
        n = -(-size // self.quantum)
        if self.quick.get(n):
            base = self.quick[n].pop()
        else:
            base = self.first_fit(n * self.quantum)
            if base is None:
                self.flush()
                base = self.first_fit(n * self.quantum)
            if base is None:
                raise MemoryError("no room for %d" % size)
        self.live[base] = n
        return base

    def first_fit(self, need):
        for i, start in enumerate(self.starts):
            if self.stops[i] - start >= need:
                self.starts[i] += need
                if self.starts[i] == self.stops[i]:
                    del self.starts[i], self.stops[i]
                return start
        return None

    def flush(self):
        for n, bases in self.quick.items():
            while bases:
                self.join(bases.pop(), n * self.quantum)

    def join(self, base, size):
        stop = base + size
        i = bisect.bisect(self.starts, base)
        front = i > 0 and self.stops[i - 1] == base
        behind = i < len(self.starts) and self.starts[i] == stop
        if front and behind:
            self.stops[i - 1] = self.stops[i]
            del self.starts[i], self.stops[i]
        elif front:
            self.stops[i - 1] = stop
        elif behind:
            self.starts[i] = base
        else:
            self.starts.insert(i, base)
            self.stops.insert(i, stop)

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise ValueError("no such buffer")
        n = self.live.pop(base)
        if n in self.quick:
            self.quick[n].append(base)
        else:
            self.join(base, n * self.quantum)

    def size_of(self, base):
        if type(base) is not int or base not in self.live:
            raise ValueError("no such buffer")
        return self.live[base] * self.quantum
