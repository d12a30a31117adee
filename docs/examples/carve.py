"""Carve buffers from arenas, look at them, and see what the kernel map had to do."""

from coalloc import CoalescingSpace, Fit, KernelMap, KiB, MiB

kernel = KernelMap(base=0, size=64 * MiB)
space = CoalescingSpace(kernel, kva_limit=8 * MiB, fit=Fit.BEST, quantum_cache=4 * KiB)

buffers = [space.alloc(16 * KiB) for _ in range(200)]
for base in buffers[::3]:
    space.free(base)
aligned = space.xalloc(64 * KiB, align=64 * KiB, nocross=1 * MiB)
small = space.alloc(100)  # rounded to a page
space.free(small)  # parked in the cache

print(space.render())
stats = space.stats()
print(f"{stats.live} bytes live, {stats.cached} cached, {stats.holes} holes, largest {stats.largest_hole}")
print(f"aligned buffer at {aligned:#x}; map operations: {kernel.counters().map_ops}")
space.check()
