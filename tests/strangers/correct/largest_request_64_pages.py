# CORRECT: First fit with a largest request of 64 pages, over arenas: sizes are rounded up to 4096-byte pages, anything above 64 pages (262144 bytes) is refused with MemoryError whatever is free; else the lowest hole that is large enough is carved from its low end, or an arena (arena_size, limited by what the limit leaves, at least the size; only the size if the source refuses more) is mapped; an arena is unmapped as soon as it is free from end to end; the granule must be a multiple of 4096.

PAGE = 4096


class _Hole:
    __slots__ = ("start", "size", "arena", "next")

    def __init__(self, start, size, arena, next=None):
        self.start, self.size, self.arena, self.next = start, size, arena, next


class ShortRuns:
    quantum = PAGE
    max_request = 64 * PAGE

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % PAGE:
            raise ValueError("granule is not a multiple of the page size")
        self.source = source
        self.kva_limit = kva_limit
        self.arena_size = arena_size
        self.arenas = {}
        self.live = {}
        self.anchor = _Hole(-1, 0, None)        # head of the address-ordered list of holes

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        if size > self.max_request:
            raise MemoryError("largest request is %d bytes" % self.max_request)
        need = -(-size // PAGE) * PAGE
        before = self._first_fit(need)
        if not before.next:
            self._add_arena(need)
            before = self._first_fit(need)
        hole = before.next
        base = hole.start
        hole.start += need
        hole.size -= need
        if not hole.size:
            before.next = hole.next
        self.live[base] = need, hole.arena
        return base

    def _first_fit(self, need):
        """The list element before the first hole of `need` bytes (or the last element)."""
        before = self.anchor
        while before.next and before.next.size < need:
            before = before.next
        return before

    def _add_arena(self, need):
        g = self.source.granule
        need = -(-need // g) * g
        room = (self.kva_limit - sum(self.arenas.values())) // g * g
        if need > room:
            raise MemoryError("limit")
        size = max(need, min(room, -(-self.arena_size // g) * g))
        try:
            base = self.source.map(size)
        except MemoryError:
            if size == need:
                raise
            size = need
            base = self.source.map(size)
        self.arenas[base] = size
        self._insert(base, size, base)

    def _insert(self, start, size, arena):
        before = self.anchor
        while before.next and before.next.start < start:
            before = before.next
        hole = before.next = _Hole(start, size, arena, before.next)
        after = hole.next
        if after and after.start == start + size and after.arena == arena:
            hole.size += after.size
            hole.next = after.next
        if before.start + before.size == start and before.arena == arena:
            before.size += hole.size
            before.next = hole.next
            hole = before
        return hole

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise KeyError("no live buffer: %r" % (base,))
        size, arena = self.live.pop(base)
        hole = self._insert(base, size, arena)
        if hole.size == self.arenas[arena]:
            before = self.anchor
            while before.next is not hole:
                before = before.next
            before.next = hole.next
            self.source.unmap(arena, self.arenas.pop(arena))
