# FAULTY: the treap takes hash(base) as a node's priority, which for an int is the int itself, so holes freed in address order make a vine and the recursion fails at about a thousand of them.
# PROMISES: one static range; first fit, lowest address, logarithmic; sizes rounded to the quantum; holes join both ways at once; nothing released; complete.
# SHOWS: 2,400 one-quantum buffers live, every second one freed in address order: a free raises RecursionError.


class _Node:
    __slots__ = ("base", "size", "prio", "left", "right", "most")

    def __init__(self, base, size):
        self.base, self.size, self.most = base, size, size
        self.prio = hash(base)
        self.left = self.right = None


def _pull(n):
    n.most = n.size
    if n.left is not None and n.left.most > n.most:
        n.most = n.left.most
    if n.right is not None and n.right.most > n.most:
        n.most = n.right.most
    return n


def _merge(a, b):
    if a is None or b is None:
        return a or b
    if a.prio < b.prio:
        a.right = _merge(a.right, b)
        return _pull(a)
    b.left = _merge(a, b.left)
    return _pull(b)


def _split(n, base):
    """Two treaps: the holes below base, and the others."""
    if n is None:
        return None, None
    if n.base < base:
        n.right, high = _split(n.right, base)
        return _pull(n), high
    low, n.left = _split(n.left, base)
    return low, _pull(n)


class TreapHeap:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._root, self._size_at, self._base_to, self._live = None, {}, {}, {}
        self._insert(source.map(size), size)

    def _insert(self, base, size):
        low, high = _split(self._root, base)
        self._root = _merge(_merge(low, _Node(base, size)), high)
        self._size_at[base] = size
        self._base_to[base + size] = base

    def _remove(self, base):
        size = self._size_at.pop(base)
        del self._base_to[base + size]
        low, rest = _split(self._root, base)
        _, high = _split(rest, base + 1)
        self._root = _merge(low, high)
        return size

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("int wanted")
        if not 1 <= size <= 2**63:
            raise ValueError("size out of range")
        need = -(-size // self.quantum) * self.quantum
        n = self._root
        if n is None or n.most < need:
            raise MemoryError("no hole is large enough")
        while True:
            if n.left is not None and n.left.most >= need:
                n = n.left
            elif n.size >= need:
                break
            else:
                n = n.right
        base, have = n.base, n.size
        self._remove(base)
        if have > need:
            self._insert(base + need, have - need)
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise KeyError(base)
        size = self._live.pop(base)
        if base + size in self._size_at:
            size += self._remove(base + size)
        if base in self._base_to:
            before = self._base_to[base]
            size += self._remove(before)
            base = before
        self._insert(base, size)
