"""A magazine on each of 8 CPUs before the arenas: a freed buffer of 16 KiB waits for the next request on its CPU."""

import attrs

from coalloc import ERAS, NEVER, Coalescing, CoalescingSpace, Contract, Fit, ForwardingSpace, bundled_build, replay
from coalloc.designs import of_factory


class Magazines(ForwardingSpace):
    contract = Contract(Fit.BEST, coalescing=Coalescing.DEFERRED, release=NEVER, checks_frees=False)
    cpu, hits, resize, xalloc, reserve, segments = 0, 0, None, None, None, None  # what is None it cannot do

    def __init__(self, source, *, kva_limit):
        super().__init__(CoalescingSpace(source, kva_limit=kva_limit, release=NEVER))
        self.kept = [[] for _ in range(8)]

    def alloc(self, size):
        if size == 16384 and self.kept[self.cpu]:
            self.hits += 1
            return self.kept[self.cpu].pop()
        if self.below.available() < size <= self.kva_limit:
            self.reclaim()
        return self.below.alloc(size)

    def free(self, base):
        give = self.kept[self.cpu].append if self.below.size_of(base) == 16384 else self.below.free
        give(base)

    def reclaim(self):
        while any(self.kept):
            self.below.free(max(self.kept, key=len).pop())
        return self.below.reclaim()

    def stats(self):
        below, n = self.below.stats(), sum(map(len, self.kept))
        calls = {"allocs": below.allocs + self.hits, "frees": below.frees + self.hits + n, "cache_hits": self.hits}
        return attrs.evolve(below, live=below.live - 16384 * n, cached=16384 * n, **calls)


space = replay(bundled_build(), of_factory("mine", Magazines), era=ERAS["2004-01"], limit=1 << 26, cpus=8).space
print(f"{space.cache_hits} of {space.allocs} requests served by a magazine, {space.cached} bytes wait in them")
