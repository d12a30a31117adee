# CORRECT: First fit over arenas whose first 4096-byte page holds the arena's book-keeping and is never handed out: sizes are rounded up to pages, arenas are searched in address order and the lowest large enough run of free pages is taken; when no arena has one a further arena of arena_size (at most what the limit leaves, at least the size plus the book-keeping page; only that if the source refuses more) is mapped, else the request is refused; an arena without buffers is unmapped, page and all; the granule must be a multiple of 4096.
from bisect import bisect_right, insort

PAGE = 4096


class _Arena:
    """The content of a book-keeping page: who owns which page."""

    def __init__(self, base, size):
        self.base, self.size = base, size
        self.owner = [None] * (size // PAGE)
        self.owner[0] = 0               # this page itself

    def find(self, count):
        """Index of the lowest run of `count` free pages, None without one."""
        run = 0
        for i, owner in enumerate(self.owner):
            run = 0 if owner is not None else run + 1
            if run == count:
                return i - count + 1
        return None

    def take(self, first, count):
        self.owner[first:first + count] = [first] * count

    def give_back(self, first):
        i = first
        while i < len(self.owner) and self.owner[i] == first:
            self.owner[i] = None
            i += 1

    def idle(self):
        return self.owner.count(None) == len(self.owner) - 1


class HeaderPageArenas:
    quantum = PAGE

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % PAGE:
            raise ValueError("granule must be whole pages")
        self._source = source
        self._limit = kva_limit
        self._usual = -(-arena_size // source.granule) * source.granule
        self._arenas = []

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size is no int")
        if not 0 < size <= 2**63:
            raise ValueError("size is not in 1..2**63")
        count = (size + PAGE - 1) // PAGE
        for arena in self._arenas:
            first = arena.find(count)
            if first is not None:
                break
        else:
            arena, first = self._new_arena(count), 1
        arena.take(first, count)
        return arena.base + first * PAGE

    def _new_arena(self, count):
        g = self._source.granule
        least = -(-(count + 1) * PAGE // g) * g
        room = (self._limit - sum(a.size for a in self._arenas)) // g * g
        for size in (max(least, min(self._usual, room)), least):
            if size <= room:
                try:
                    arena = _Arena(self._source.map(size), size)
                except MemoryError:
                    continue
                insort(self._arenas, arena, key=lambda a: a.base)
                return arena
        raise MemoryError("no arena for %d pages" % count)

    def free(self, base):
        if type(base) is not int:
            raise ValueError("not an address")
        i = bisect_right(self._arenas, base, key=lambda a: a.base) - 1
        arena = self._arenas[i] if i >= 0 else None
        first, odd = divmod(base - arena.base, PAGE) if arena else (0, 0)
        if odd or not 0 < first < (arena.size // PAGE if arena else 0) or arena.owner[first] != first:
            raise ValueError("not the base of a live buffer")
        arena.give_back(first)
        if arena.idle():
            del self._arenas[i]
            self._source.unmap(arena.base, arena.size)
