"""Arenas per size: buffers of one size share arenas, and all arenas share one limit."""

from coalloc import DESIGNS, ERAS, NEVER, CoalescingSpace, Contract, Limit, MiB, replay
from coalloc.designs import of_factory
from coalloc.workload.generators import churn


class ArenasPerSize:
    contract = Contract(fit=None, release=NEVER)

    def __init__(self, source, *, kva_limit, arena_size=MiB):
        self.shared, self.spaces, self.live = Limit(source, kva_limit), {}, {}
        self.each = {"kva_limit": kva_limit, "arena_size": arena_size, "release": NEVER}

    def alloc(self, size):
        own = self.spaces.setdefault(size, CoalescingSpace(self.shared, **self.each))
        for space in (own, *self.spaces.values(), own):  # at the limit any hole will do, or what the others released
            try:
                base = space.alloc(size)
            except MemoryError:
                continue
            self.live[base] = space
            return base
        raise MemoryError(f"no place for {size} bytes")

    def free(self, base):
        self.live.pop(base).free(base)


for design in (DESIGNS["coalescing"], of_factory("per size", ArenasPerSize)):
    outcome = replay(churn(live=500, operations=20_000), design, era=ERAS["current"], limit=64 * MiB)
    print(
        f"{design.name}: {outcome.map.map_ops} arenas, at most {outcome.map.peak_mapped / outcome.peak_live:.2f} of live"
    )
