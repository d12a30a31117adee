"""A3: DragonFly keeps the buffers of closed pipes on each CPU, with their address space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coalloc.patches.patch import Figure, Patch, Predicted
from coalloc.pipes.eras import PIPE_SIZE
from coalloc.space.cached import CachedSpace
from coalloc.space.perpipe import PerPipeSpace
from coalloc.space.protocol import FullSpace
from coalloc.units import GiB
from coalloc.vm.kernelmap import KernelMap

__all__ = ["OFFERED"]

_PIPES: Final = 1024


def before(kernel: KernelMap) -> FullSpace:
    """Map each buffer when a pipe is made, and unmap it when the pipe is closed."""
    return PerPipeSpace(kernel, kva_limit=GiB)


def after(kernel: KernelMap) -> FullSpace:
    """Keep up to 16 buffers of closed pipes on each CPU, and map one only where there is none."""
    return CachedSpace(PerPipeSpace(kernel, kva_limit=GiB), sizes=[PIPE_SIZE], depth=16, ncpus=kernel.cpus)


def _run(tell: Callable[[str], None]) -> Predicted:
    figures, findings = [], []
    for alive in (1, 64):
        tell(f"{alive} pipes alive")
        came = []
        for make in (before, after):
            kernel = KernelMap(size=GiB, cpus=2)
            space = make(kernel)
            for _ in range(_PIPES // alive):
                buffers = [space.alloc(PIPE_SIZE) for _ in range(2 * alive)]
                for base in buffers:
                    space.touch(base, 1)
                for base in buffers:
                    space.free(base)
            done = kernel.counters()
            came.append(((done.map_ops + done.unmap_ops) / _PIPES, done.tlb_shootdowns / _PIPES))
        for name, (operations, _shootdowns) in zip(("before", "after"), came, strict=True):
            figures.append(Figure(f"map calls a pipe, {alive} alive, {name}", operations))
        findings.append(
            f"With {alive} alive, a pipe costs {came[0][1]:.3g} shoot-downs before and {came[1][1]:.3g} after."
        )
    return Predicted(tuple(figures), tuple(findings))


OFFERED: Final = (
    Patch(
        "A3",
        "up to 16 mapped buffers are kept on each CPU",
        "DragonFly, 20 February 2004, fc7d518197",
        before,
        after,
        f"{_PIPES:,} pipes, made and closed one or 64 at a time; a page of each buffer is touched",
        "fewer map operations and interrupts of other CPUs; no figure",
        _run,
        rank=3,
    ),
)
