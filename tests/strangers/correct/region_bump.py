# CORRECT: Region allocator: sizes are rounded up to 4096-byte pages and bumped off the low end of what was never used of the oldest arena where that suffices; freed space is not reused, but when everything in an arena is freed the arena is unmapped at once; when no arena has room a further one of arena_size (less if the limit leaves less, at least the size; just the size if the source will not give more) is mapped, else the request is refused; the granule must be a multiple of 4096.
from dataclasses import dataclass


@dataclass(eq=False)
class _Region:
    base: int
    size: int
    used: int = 0
    live: int = 0

    def bump(self, nbytes):
        address = self.base + self.used
        self.used += nbytes
        self.live += 1
        return address


class RegionAllocator:
    quantum = 4096

    def __init__(self, source, *, kva_limit, arena_size=1 << 20):
        if source.granule % self.quantum:
            raise ValueError("granule must be whole pages")
        self.source = source
        self.kva_limit = kva_limit
        self.arena_size = arena_size
        self.regions = []           # the oldest first
        self.region_of = {}         # live base -> region

    def alloc(self, size):
        if type(size) is not int:
            raise TypeError("size must be an int")
        if not 1 <= size <= 2**63:
            raise ValueError("size must be in 1..2**63")
        nbytes = (size + 4095) // 4096 * 4096
        region = None
        for candidate in self.regions:
            if candidate.size - candidate.used >= nbytes:
                region = candidate
                break
        if region is None:
            region = self._open_region(nbytes)
        base = region.bump(nbytes)
        self.region_of[base] = region
        return base

    def _open_region(self, nbytes):
        granule = self.source.granule
        room = self.kva_limit - sum(r.size for r in self.regions)
        room -= room % granule
        least = nbytes + -nbytes % granule
        if least > room:
            raise MemoryError("limit reached")
        usual = min(room, self.arena_size + -self.arena_size % granule)
        attempts = [usual, least] if usual > least else [least]
        for size in attempts:
            try:
                region = _Region(self.source.map(size), size)
            except MemoryError:
                continue
            self.regions.append(region)
            return region
        raise MemoryError("the source gives no arena")

    def free(self, base):
        if type(base) is not int or base not in self.region_of:
            raise KeyError(base)
        region = self.region_of.pop(base)
        region.live -= 1
        if not region.live:
            self.regions.remove(region)
            self.source.unmap(region.base, region.size)
