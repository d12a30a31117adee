# FAULTY: the rover is moved on when the hole it points to is absorbed by a freed range, but not when both neighbours of that range are joined, so the next search starts from a dead hole and hands out its bytes although the joined hole has them too.
# PROMISES: one static range; next fit (from the hole cut last, onward, once round), low end; sizes rounded to the quantum; joins both ways at once; nothing released; complete.
# SHOWS: alloc a, b; free a, free b (joined with a's hole in front and the rest behind, where the rover is); c = alloc(4096); alloc of the whole range succeeds and lies over c.


class _Hole:
    __slots__ = ("base", "size", "prev", "next")


class NextFit:
    quantum = 4096

    def __init__(self, source, *, kva_limit):
        size = kva_limit // source.granule * source.granule
        if size <= 0:
            raise ValueError("kva_limit below one granule")
        self._end = end = _Hole()  # sentinel of a ring in address order
        end.base, end.size, end.prev, end.next = None, 0, end, end
        self._count = 0
        self._rover = self._link(source.map(size), size, end)
        self._live = {}

    def _link(self, base, size, before):
        hole = _Hole()
        hole.base, hole.size = base, size
        hole.prev, hole.next = before.prev, before
        hole.prev.next = before.prev = hole
        self._count += 1
        return hole

    def _unlink(self, hole):
        hole.prev.next, hole.next.prev = hole.next, hole.prev
        self._count -= 1

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // self.quantum) * self.quantum
        hole = self._rover  # all holes, the sentinel, and the rover's once more
        for _ in range(self._count + 2):
            if hole.size >= need:
                break
            hole = hole.next
        else:
            raise MemoryError("once round and nothing found")
        base = hole.base
        hole.base += need
        hole.size -= need
        if hole.size:
            self._rover = hole
        else:
            self._rover = hole.next
            self._unlink(hole)
        self._live[base] = need
        return base

    def free(self, base):
        if type(base) is not int or base not in self._live:
            raise ValueError("no live buffer has this base")
        size = self._live.pop(base)
        behind = self._end.next
        while behind is not self._end and behind.base < base:
            behind = behind.next
        front = behind.prev
        touches_front = front is not self._end and front.base + front.size == base
        touches_behind = behind is not self._end and base + size == behind.base
        if touches_front and touches_behind:
            front.size += size + behind.size
            self._unlink(behind)
        elif touches_front:
            front.size += size
        elif touches_behind:
            hole = self._link(base, size + behind.size, behind)
            self._unlink(behind)
            if self._rover is behind:
                self._rover = hole
        else:
            self._link(base, size, behind)
