"""First fit over one range of address space."""

from bisect import insort

from coalloc import Contract, Fit

PAGE = 4096


class FirstFit:
    contract = Contract(fit=Fit.FIRST)

    def __init__(self, source, kva_limit):
        size = kva_limit // PAGE * PAGE
        self.holes = [(source.map(size), size)]  # base and size, by base
        self.busy = {}

    def alloc(self, size):
        if type(size) is not int or size < 1:
            raise ValueError(f"no size: {size!r}")
        size += -size % PAGE
        for hole in self.holes:
            base, length = hole
            if length >= size:
                self.holes.remove(hole)
                if length > size:
                    insort(self.holes, (base + size, length - size))
                self.busy[base] = size
                return base
        raise MemoryError(f"no room for {size} bytes")

    def free(self, base):
        size = self.busy.pop(base)  # KeyError if it is not live
        for hole in list(self.holes):
            if hole[0] == base + size:  # the hole behind
                self.holes.remove(hole)
                size += hole[1]
            elif sum(hole) == base:  # the hole in front
                self.holes.remove(hole)
                base, size = hole[0], hole[1] + size
        insort(self.holes, (base, size))
