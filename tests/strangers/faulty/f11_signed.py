# FAULTY: sizes pass through a signed 64-bit integer, so 2**63 becomes negative and "fits" every hole.
# PROMISES: one static range; first fit, lowest address; sizes rounded to the quantum; joins both ways at once; nothing released; complete.
# SHOWS: alloc(2**63) on a fresh range of 1 MiB returns a base instead of raising MemoryError.
import ctypes


class SignedHeap:
    """A linked list of free extents, after a C original."""

    quantum = 4096

    class Extent:
        def __init__(self, base, size, after=None):
            self.base = base
            self.size = size
            self.after = after

    def __init__(self, source, *, kva_limit):
        whole = kva_limit // source.granule * source.granule
        if whole == 0:
            raise ValueError("kva_limit holds no granule")
        # a sentinel in front saves a special case for the first extent
        self._front = self.Extent(None, 0, self.Extent(source.map(whole), whole))
        self._used = {}

    @classmethod
    def _round(cls, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an integer")
        if size < 1 or size > 1 << 63:
            raise ValueError("size out of range")
        return ctypes.c_int64(-(-size // cls.quantum) * cls.quantum).value

    def alloc(self, size):
        need = self._round(size)
        before = self._front
        while before.after is not None:
            extent = before.after
            if extent.size >= need:
                base = extent.base
                extent.base += need
                extent.size -= need
                if extent.size == 0:
                    before.after = extent.after
                self._used[base] = need
                return base
            before = extent
        raise MemoryError("no extent of %d bytes" % size)

    def free(self, base):
        if type(base) is not int or base not in self._used:
            raise KeyError("no live buffer there")
        size = self._used.pop(base)
        before = self._front
        while before.after is not None and before.after.base < base:
            before = before.after
        extent = self.Extent(base, size, before.after)
        before.after = extent
        behind = extent.after
        if behind is not None and base + size == behind.base:
            extent.size += behind.size
            extent.after = behind.after
        if before is not self._front and before.base + before.size == base:
            before.size += extent.size
            before.after = extent.after

    def size_of(self, base):
        if type(base) is not int or base not in self._used:
            raise KeyError("no live buffer there")
        return self._used[base]
