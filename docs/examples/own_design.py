"""Replay a load against a design of your own: larger arenas, first fit, nothing kept."""

from coalloc import EAGER, ERAS, CoalescingSpace, Design, Fit, KernelMap, KernelState, MiB, Space, replay
from coalloc.workload.generators import churn


def make_space(_state: KernelState, kernel: KernelMap, limit: int) -> Space:
    """Build the space over a kernel map."""
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=16 * MiB, fit=Fit.FIRST, release=EAGER)


mine = Design("mine", "16 MiB arenas, first fit, eager release", make_space, resize_in_place=True)
outcome = replay(churn(live=500, operations=20_000, seed=7), mine, era=ERAS["current"], limit=64 * MiB)
mapped = outcome.map.peak_mapped // MiB
print(f"{outcome.map.map_ops} arenas imported, at most {mapped} MiB mapped for {outcome.peak_live} live bytes")
print(f"mean external fragmentation {outcome.mean_external_fragmentation:.3f}")
