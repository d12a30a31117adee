# CORRECT: Last fit over one static range (kva_limit rounded down to the granule): sizes are rounded up to 4096-byte pages, the hole with the highest address that is large enough is taken and carved from its high end, holes merge when freed, and a request is refused exactly when no hole is large enough; the range is never unmapped; the granule must be a multiple of 4096.
from types import SimpleNamespace


class _Node:
    """A stretch of the range, linked to the stretches below and above it."""
    __slots__ = ("base", "size", "busy", "below", "above")

    def __init__(self, base, size, busy=False, below=None, above=None):
        self.base, self.size, self.busy = base, size, busy
        self.below, self.above = below, above
        if below:
            below.above = self
        if above:
            above.below = self


class LastFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        if source.granule % self.quantum:
            raise ValueError("granule is no multiple of 4096")
        size = kva_limit - kva_limit % source.granule
        self._top = _Node(source.map(size), size) if size > 0 else None
        self._start = self._top.base if self._top else 0
        self._node_at = {}      # live base -> node

    def _downwards(self):
        node = self._top
        while node:
            yield node
            node = node.below

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size: int wanted")
        if not 0 < size <= 2**63:
            raise ValueError("size: 1..2**63 wanted")
        size += -size % 4096
        for node in self._downwards():
            if not node.busy and node.size >= size:
                break
        else:
            raise MemoryError("no hole of %d bytes" % size)
        if node.size > size:
            node.size -= size
            upper = _Node(node.base + node.size, size, False, node, node.above)
            if node is self._top:
                self._top = upper
            node = upper
        node.busy = True
        self._node_at[node.base] = node
        return node.base

    def _absorb_above(self, node):
        gone = node.above
        node.size += gone.size
        node.above = gone.above
        if gone.above:
            gone.above.below = node
        else:
            self._top = node

    def free(self, base):
        if type(base) is not int or base not in self._node_at:
            raise KeyError(f"no live buffer at {base!r}")
        node = self._node_at.pop(base)
        node.busy = False
        if node.above and not node.above.busy:
            self._absorb_above(node)
        if node.below and not node.below.busy:
            self._absorb_above(node.below)

    def segments(self):
        found = [SimpleNamespace(base=n.base, size=n.size, arena=self._start,
                                 kind="busy" if n.busy else "free") for n in self._downwards()]
        return found[::-1]
