# FAULTY: free holes are joined only by a free that comes a quarter of a second or more after the last joining, and alloc never joins, so the answers depend on time.monotonic().
# PROMISES: one static range; best fit, lowest address among equals; sizes rounded to the quantum; joining may be put off but never shows; nothing released; complete; the same calls give the same answers.
# SHOWS: range of four quanta, at once after construction: alloc four buffers, free all, alloc(16384) raises MemoryError; with a pause of 0.3 s before the last free it succeeds.
import time


class TimedJoins:
    quantum = 4096
    INTERVAL = 0.25

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._holes = {source.map(size): size}
        self._live = {}
        self._joined = time.monotonic()

    def _best(self, need):
        best = None
        for base, size in self._holes.items():
            if size >= need and (best is None or (size, base) < best):
                best = (size, base)
        return best

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = (size + self.quantum - 1) // self.quantum * self.quantum
        best = self._best(need)
        if best is None:
            raise MemoryError(f"no hole of {need} bytes")
        have, base = best
        del self._holes[base]
        if have > need:
            self._holes[base + need] = have - need
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        self._holes[base] = self._live.pop(base)
        now = time.monotonic()
        if now - self._joined >= self.INTERVAL:
            self._join()
            self._joined = now

    def _join(self):
        joined = {}
        last = None
        for base in sorted(self._holes):
            size = self._holes[base]
            if last is not None and last + joined[last] == base:
                joined[last] += size
            else:
                joined[base] = size
                last = base
        self._holes = joined

    def size_of(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        return self._live[base]
