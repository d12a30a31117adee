"""The designs that programs are replayed against, by name: each builds a kernel map of its era and a space over it.

Most follow the pipe policy of whatever era is asked for; those that are another kernel's follow that kernel's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from coalloc.contract import NEVER, Fit
from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import BIG_PIPE_SIZE, PIPE_SIZE, Era
from coalloc.pipes.kernels import KERNELS
from coalloc.pipes.linux import LinuxPipes
from coalloc.pipes.machine import PipeMachine
from coalloc.pipes.system import PipeSystem
from coalloc.sched.clock import SimClock
from coalloc.space.buddy import BuddySpace
from coalloc.space.cached import CachedSpace
from coalloc.space.coalescing import CoalescingSpace
from coalloc.space.permap import PerPipeSpace
from coalloc.space.protocol import Space
from coalloc.space.vmem import VmemSpace
from coalloc.units import PAGE_SIZE, GiB, require_size, round_up
from coalloc.vm.kernelmap import KernelMap

__all__ = ["DESIGNS", "Bench", "Design", "find_designs"]

KERNEL_MAP_SIZE: Final = GiB
"""Bytes of the kernel map, for eras without a submap for pipes (i386: 1 GiB of kernel address space)."""


@attrs.frozen
class Bench:
    """A kernel map and the space over it, ready for one replay."""

    kernel: KernelMap
    space: Space


@attrs.frozen
class Design:
    """A way to give pipes their buffers.

    Args:
        name: Its key in ``DESIGNS``.
        title: What it is, in words.
        make_space: Builds the space over a kernel map: era, map, limit in bytes.
        resize_in_place: Whether the pipe policy may let the space resize a buffer where it lies.
        kernel: The pipe policy that belongs to it, in place of the era that is asked for; None where that holds.
        make_pipes: Builds the pipe system over the space: era, space, limit in bytes, clock; FreeBSD's if None.
        direct: Whether the kernel map is a direct map, whose pages need no fault and no shoot-down.
        one_by_one: Whether buffers are mapped one by one, under the map's lock; a design with arenas has a lock of its own.
    """

    name: str
    title: str
    make_space: Callable[[Era, KernelMap, int], Space]
    resize_in_place: bool = False
    kernel: Era | None = None
    make_pipes: Callable[[Era, Space, int, SimClock], PipeMachine] | None = None
    direct: bool = False
    one_by_one: bool = False

    def policy(self, era: Era) -> Era:
        """Return the policy that holds where an era is asked for."""
        return self.kernel or era

    def build(self, era: Era, limit: int, *, cpus: int = 2) -> Bench:
        """Build map and space on a machine of so many CPUs; the map is as large as the limit where the era has a submap of it.

        Raises:
            InvalidRequestError: If the limit is less than a page.
        """
        if require_size(limit, "limit") < PAGE_SIZE:
            raise InvalidRequestError("limit", limit, f"must be at least a page, {PAGE_SIZE} bytes")
        policy = self.policy(era)
        whole = limit // PAGE_SIZE * PAGE_SIZE
        size = whole if policy.maxpipekva_is_hard else round_up(max(whole, KERNEL_MAP_SIZE), PAGE_SIZE)
        kernel = KernelMap(
            size=size,
            cpus=cpus,
            findspace=policy.findspace,
            direct=self.direct,
            own_objects=policy.own_object and self.one_by_one,
        )
        return Bench(kernel, self.make_space(policy, kernel, size))

    def pipes(self, era: Era, space: Space, limit: int, clock: SimClock | None = None) -> PipeMachine:
        """Build the pipe system over a space, with a clock of its own if there is none."""
        if clock is None:
            clock = SimClock()
        if self.make_pipes is not None:
            return self.make_pipes(self.policy(era), space, limit, clock)
        return PipeSystem(space, self.policy(era), maxpipekva=limit, clock=clock, resize_in_place=self.resize_in_place)


def _per_pipe(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return PerPipeSpace(kernel, kva_limit=limit)


def _coalescing(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit)


def _cached(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, quantum_cache=BIG_PIPE_SIZE)


def _first_fit(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, fit=Fit.FIRST)


def _buddy(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return BuddySpace(kernel, kva_limit=limit)


def _vmem(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return VmemSpace(kernel, kva_limit=limit, qcache_max=PIPE_SIZE)


def _dragonfly(era: Era, kernel: KernelMap, limit: int) -> Space:
    return CachedSpace(_per_pipe(era, kernel, limit), sizes=[PIPE_SIZE], depth=16, ncpus=kernel.cpus)


def _netbsd(era: Era, kernel: KernelMap, limit: int) -> Space:
    return CachedSpace(_per_pipe(era, kernel, limit), sizes=[PIPE_SIZE], depth=None)


def _direct_map(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=limit, fit=Fit.FIRST, release=NEVER)


def _linux(_era: Era, space: Space, _limit: int, clock: SimClock) -> LinuxPipes:
    return LinuxPipes(space, clock=clock)


DESIGNS: Final[Mapping[str, Design]] = {
    design.name: design
    for design in (
        Design("per-pipe", "one mapping per buffer, as the kernels do", _per_pipe, one_by_one=True),
        Design(
            "coalescing", "carved from 4 MiB arenas, best fit, coalesced at once", _coalescing, resize_in_place=True
        ),
        Design("coalescing+cache", "the same with a quantum cache up to 64 KiB", _cached, resize_in_place=True),
        Design("first-fit", "carved from 4 MiB arenas, first fit, coalesced at once", _first_fit, resize_in_place=True),
        Design("buddy", "blocks of a power of two, from 4 MiB arenas", _buddy),
        Design("vmem", "FreeBSD's vmem: instant fit, quantum caches up to 16 KiB, 4 MiB imports", _vmem),
        Design(
            "dragonfly",
            "DragonFly of 2004: one mapping per buffer, 16 kept with their KVA on each CPU",
            _dragonfly,
            kernel=KERNELS["dragonfly-2004"],
            one_by_one=True,
        ),
        Design(
            "netbsd",
            "NetBSD of 2009: KVA kept with the cached object",
            _netbsd,
            kernel=KERNELS["netbsd-2009"],
            one_by_one=True,
        ),
        Design(
            "openbsd",
            "OpenBSD: one mapping per buffer, no limit",
            _per_pipe,
            kernel=KERNELS["openbsd"],
            one_by_one=True,
        ),
        Design(
            "linux",
            "Linux: a ring of pages from the direct map, taken when written",
            _direct_map,
            kernel=KERNELS["linux"],
            make_pipes=_linux,
            direct=True,
        ),
    )
}
"""The designs by name; the first is what the others are compared with."""


def find_designs(names: str) -> tuple[Design, ...]:
    """Return the designs of a comma-separated list.

    Raises:
        InvalidRequestError: For a name that is unknown or stands twice, or an empty list.

    >>> [design.name for design in find_designs("per-pipe,coalescing")]
    ['per-pipe', 'coalescing']
    """
    found: list[Design] = []
    for name in (name.strip() for name in names.split(",")):
        if name not in DESIGNS:
            raise InvalidRequestError("designs", name, f"is no design; there are {', '.join(DESIGNS)}")
        if DESIGNS[name] in found:
            raise InvalidRequestError("designs", name, "stands twice")
        found.append(DESIGNS[name])
    return tuple(found)
