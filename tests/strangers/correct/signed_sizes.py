# CORRECT: First fit over one static range; sizes are kept as signed 64-bit numbers, so one that is larger than 2**63 - 1 raises OverflowError; whole pages of 4096 bytes, lowest hole, low end; holes join at once; complete; nothing is given back.


class SignedFit:
    quantum = 4096
    MOST = 2**63 - 1

    def __init__(self, source, *, kva_limit):
        size = kva_limit - kva_limit % source.granule
        self._holes = [(source.map(size), size)] if size else []
        self._sizes = {}

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size")
        if size > self.MOST:
            raise OverflowError("size does not fit into a signed number")
        if size < 1:
            raise ValueError("size")
        need = (size + 4095) // 4096 * 4096
        for number, (base, length) in enumerate(self._holes):
            if length >= need:
                rest = [(base + need, length - need)] if length > need else []
                self._holes[number : number + 1] = rest
                self._sizes[base] = need
                return base
        raise MemoryError(size)

    def free(self, base):
        if type(base) is not int:
            raise ValueError("base")
        size = self._sizes.pop(base)
        joined = []
        for start, length in sorted([*self._holes, (base, size)]):
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((start, length))
        self._holes = joined
