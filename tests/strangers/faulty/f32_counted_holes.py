# FAULTY: the count of holes is kept up by hand, and a free that joins on both sides leaves it as it was instead of taking one off, so stats()["holes"] is too high from then on.
# PROMISES: one static range; first fit, lowest address; sizes rounded to the quantum; joins both ways at once; nothing released; complete; every figure of stats() is exact at all times.
# SHOWS: alloc a, b, c in a range of 1 MiB, free a, free c, free b: one hole is left, and stats()["holes"] is 2.


class CountedHoles:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        base = source.map(size)
        self._range = (base, base + size)
        self._cuts = {base: [base + size, False]}  # start -> [end, busy]; a partition of the range
        self._before = {base + size: base}
        self._figures = {"live": 0, "holes": 1, "allocs": 0, "frees": 0, "refusals": 0}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        base = self._range[0]
        while base < self._range[1]:
            end, busy = self._cuts[base]
            if not busy and end - base >= need:
                break
            base = end
        else:
            self._figures["refusals"] += 1
            raise MemoryError("no hole is large enough")
        if end - base > need:
            self._set(base + need, end, False)
        else:
            self._figures["holes"] -= 1
        self._set(base, base + need, True)
        self._figures["live"] += need
        self._figures["allocs"] += 1
        return base

    def _set(self, start, end, busy):
        self._cuts[start] = [end, busy]
        self._before[end] = start

    def free(self, base):
        if type(base) is not int or base not in self._cuts or not self._cuts[base][1]:
            raise ValueError("no live buffer begins there")
        end = self._cuts.pop(base)[0]
        self._figures["live"] -= end - base
        self._figures["frees"] += 1
        joined = 0
        if end in self._cuts and not self._cuts[end][1]:
            del self._before[end]
            end = self._cuts.pop(end)[0]
            joined = 1
        front = self._before.get(base)
        if front is not None and not self._cuts[front][1]:
            del self._before[base]
            base = front
            joined = 1
        self._set(base, end, False)
        self._figures["holes"] += 1 - joined

    def stats(self):
        mapped = self._range[1] - self._range[0]
        sizes = [end - start for start, (end, busy) in self._cuts.items() if not busy]
        return {
            "mapped": mapped,
            "free": mapped - self._figures["live"],
            "largest_hole": max(sizes, default=0),
            "arenas": 1,
            **self._figures,
        }
