"""Replay 20 builds at once against two designs, and compare what they cost."""

from coalloc import COSTS, DESIGNS, ERAS, MiB, bundled_build, overlay, replay

builds = overlay(bundled_build(), copies=20, spread=60_000_000, seed=1)
for name in ("per-pipe", "coalescing"):
    outcome = replay(builds, DESIGNS[name], era=ERAS["2004-01"], limit=64 * MiB)
    print(f"{name}: {outcome.pipes.pipes_created} pipes, {outcome.map.map_ops} map operations, ", end="")
    print(f"{outcome.map.tlb_shootdowns} shoot-downs, {outcome.map.peak_resident} bytes resident at the peak")
    print(f"  in units: {outcome.estimate(COSTS['unit']).ns:.0f}")
