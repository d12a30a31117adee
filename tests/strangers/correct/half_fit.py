# CORRECT: Half-fit over one static range (kva_limit rounded down to the granule): holes are binned by the power of two at or below their page count, a search starts at the bin of the request's page count rounded up to a power of two and takes the lowest-addressed hole of the first non-empty bin, but only the request itself, rounded up to 4096-byte pages, is carved off its low end; refused when those bins are all empty, though a smaller hole might have done; holes merge when freed and the range is never given back; the granule must be a multiple of 4096.
from bisect import bisect_left, insort


class HalfFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule must consist of whole pages")
        self.bins = [[] for _ in range(65)]     # bins[k]: starts of holes of 2**k .. 2**(k+1)-1 pages
        self.occupied = 0                       # bit k: bins[k] is not empty
        self.hole_size = {}                     # start -> bytes
        self.hole_start = {}                    # end -> start
        self.live = {}
        length = kva_limit // source.granule * source.granule
        if length > 0:
            self._link(source.map(length), length)

    @staticmethod
    def _bin(size):
        return (size // 4096).bit_length() - 1

    def _link(self, start, size):
        k = self._bin(size)
        insort(self.bins[k], start)
        self.occupied |= 1 << k
        self.hole_size[start] = size
        self.hole_start[start + size] = start

    def _unlink(self, start):
        size = self.hole_size.pop(start)
        del self.hole_start[start + size]
        k = self._bin(size)
        self.bins[k].pop(bisect_left(self.bins[k], start))
        if not self.bins[k]:
            self.occupied &= ~(1 << k)
        return size

    def alloc(self, size):
        if type(size) is not int or size < 1 or size > 2**63:
            raise ValueError("size must be an int in 1..2**63")
        pages = -(-size // 4096)
        k = (pages - 1).bit_length()            # log2, rounded up
        candidates = self.occupied >> k
        if not candidates:
            raise MemoryError("no hole of 2**%d pages" % k)
        k += (candidates & -candidates).bit_length() - 1
        start = self.bins[k][0]
        rest = self._unlink(start) - pages * 4096
        if rest:
            self._link(start + pages * 4096, rest)
        self.live[start] = pages * 4096
        return start

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise ValueError("not a live buffer")
        start, end = base, base + self.live.pop(base)
        if end in self.hole_size:
            end += self._unlink(end)
        if start in self.hole_start:
            start = self.hole_start[start]
            self._unlink(start)
        self._link(start, end - start)
