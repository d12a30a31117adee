# CORRECT: First fit with a fixed table of 64 segments over one static range (kva_limit rounded down to the granule): every buffer and every hole takes one entry; sizes are rounded up to 4096-byte pages; the lowest hole is taken that is exactly as large or, provided an entry is left for the remainder, larger, and is carved from its low end; refused when there is none, so with a full table only exact holes are served; freed space merges at once and gives its entries back; the granule must be a multiple of 4096.
from array import array

ENTRIES = 64
NONE = -1


class SegmentTable:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must be a multiple of 4096")
        self._base = array("Q", [0] * ENTRIES)
        self._size = array("Q", [0] * ENTRIES)
        self._busy = bytearray(ENTRIES)
        self._next = array("b", list(range(1, ENTRIES)) + [NONE])
        self._unused = 0                # head of the chain of unused entries
        self._first = NONE              # head of the chain of segments, by address
        span = kva_limit // source.granule * source.granule
        if span > 0:
            self._first = self._take_entry(source.map(span), span, NONE)

    def _take_entry(self, base, size, following):
        e = self._unused
        self._unused = self._next[e]
        self._base[e], self._size[e], self._busy[e], self._next[e] = base, size, 0, following
        return e

    def _drop_following(self, e):
        """Merge the segment that follows `e` into it."""
        gone = self._next[e]
        self._size[e] += self._size[gone]
        self._next[e] = self._next[gone]
        self._next[gone] = self._unused
        self._unused = gone

    def _chain(self):
        e = self._first
        while e != NONE:
            yield e
            e = self._next[e]

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if size < 1 or size > 2**63:
            raise ValueError("size must be in 1..2**63")
        size += -size % 4096
        for e in self._chain():
            if self._busy[e] or self._size[e] < size:
                continue
            if self._size[e] > size:
                if self._unused == NONE:
                    continue
                self._next[e] = self._take_entry(
                    self._base[e] + size, self._size[e] - size, self._next[e])
                self._size[e] = size
            self._busy[e] = 1
            return self._base[e]
        raise MemoryError("no suitable hole, or the table is full")

    def free(self, base):
        if type(base) is not int:
            raise ValueError("base must be an int")
        before = NONE
        for e in self._chain():
            if self._busy[e] and self._base[e] == base:
                break
            before = e
        else:
            raise ValueError("not the base of a live buffer")
        self._busy[e] = 0
        if self._next[e] != NONE and not self._busy[self._next[e]]:
            self._drop_following(e)
        if before != NONE and not self._busy[before]:
            self._drop_following(before)
