"""The spaces that every behaviour of the pipe policy is tested over, and pipe systems on small maps."""

from __future__ import annotations

from collections.abc import Callable

from coalloc import (
    ERAS,
    CoalescingSpace,
    Era,
    KernelMap,
    PerPipeSpace,
    PipeError,
    PipePair,
    PipeSystem,
    SimClock,
)
from coalloc.pipes.budget import ROOT, Owner
from coalloc.space.protocol import FullSpace

PAGE = 4096
MAKERS: dict[str, Callable[[KernelMap, int], FullSpace]] = {
    "per-pipe": lambda kernel, limit: PerPipeSpace(kernel, kva_limit=limit),
    "coalescing": lambda kernel, limit: CoalescingSpace(kernel, kva_limit=limit),
    "cached": lambda kernel, limit: CoalescingSpace(kernel, kva_limit=limit, quantum_cache=65536),
}


def map_own(kernel: KernelMap, size: int) -> int:
    """Map a range with an object of its own, whatever the other mappings have."""
    kernel.own_objects = True
    try:
        return kernel.map(size)
    finally:
        kernel.own_objects = False


USER = Owner(uid=1001, privileged=False)


def make(era: Era | str, design: str = "per-pipe", *, m: int = 1 << 20, map_size: int | None = None) -> PipeSystem:
    """Make a pipe system of an era, on a map that is as large as the limit unless map_size is given."""
    era = ERAS[era] if isinstance(era, str) else era
    size = (m if map_size is None else map_size) // PAGE * PAGE
    kernel = KernelMap(base=0, size=size)
    return PipeSystem(MAKERS[design](kernel, size), era, maxpipekva=m, clock=SimClock())


def fill(system: PipeSystem, owner: Owner = ROOT) -> tuple[list[PipePair], PipeError]:
    """Call pipe() until it fails, or, in an era where it never fails, until a half has no buffer."""
    pairs: list[PipePair] = []
    while True:
        try:
            pair = system.pipe(owner)
        except PipeError as error:
            return pairs, error
        pairs.append(pair)
        if not pair.halves[0].size:
            return pairs, PipeError(0, "pipe")


def close_all(system: PipeSystem) -> None:
    """Close every open end of every pipe."""
    for pair in system.pairs:
        for end in (0, 1):
            if pair.halves[end].present.name == "ACTIVE":
                pair.close(end)
