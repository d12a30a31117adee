# CORRECT: First fit with reserved address ranges, over one static range (kva_limit rounded down to the granule): no buffer ever touches a 4096-byte page that meets one of the reserved (start, end) ranges, by default the page at 0, 0xA0000-0xFFFFF, 0xFEC00000-0xFEEFFFFF and the last page below 2**64; sizes are rounded up to pages, the lowest large enough hole is carved from its low end, holes merge when freed but not across a reserved range, and a request is refused exactly when no hole is large enough; the granule must be a multiple of 4096.
from bisect import bisect_left

PAGE = 4096
DEFAULT = (
    (0, PAGE),                          # null pointers shall fault
    (0xA0000, 0x100000),                # video memory and ROMs
    (0xFEC00000, 0xFEF00000),           # interrupt controllers
    (2**64 - PAGE, 2**64),              # small negative numbers shall fault
)


def subtract(pieces, start, end):
    for lo, hi in pieces:
        if lo < min(hi, start):
            yield lo, min(hi, start)
        if max(lo, end) < hi:
            yield max(lo, end), hi


class FirstFitAround:
    quantum = PAGE

    def __init__(self, source, *, kva_limit, reserved=DEFAULT):
        if source.granule % PAGE:
            raise ValueError("granule must be a multiple of the page size")
        span = kva_limit // source.granule * source.granule
        pieces = []
        if span > 0:
            base = source.map(span)
            pieces.append((base, base + span))
        for start, end in reserved:
            if start < end:
                pieces = list(subtract(pieces, start // PAGE * PAGE, -(-end // PAGE) * PAGE))
        self.holes = pieces
        self.live = {}

    def alloc(self, size):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        need = -(-size // PAGE) * PAGE
        for i, (lo, hi) in enumerate(self.holes):
            if lo + need <= hi:
                self.live[lo] = lo + need
                if lo + need == hi:
                    del self.holes[i]
                else:
                    self.holes[i] = lo + need, hi
                return lo
        raise MemoryError("no hole outside the reserved ranges is large enough")

    def free(self, base):
        if type(base) is not int or base not in self.live:
            raise ValueError("not the base of a live buffer")
        end = self.live.pop(base)
        i = bisect_left(self.holes, (base, end))
        if i < len(self.holes) and self.holes[i][0] == end:
            end = self.holes.pop(i)[1]
        if i and self.holes[i - 1][1] == base:
            i -= 1
            base = self.holes.pop(i)[0]
        self.holes.insert(i, (base, end))
