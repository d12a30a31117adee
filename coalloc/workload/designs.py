"""The designs that programs are replayed against, by name: each builds a kernel map of its era and a space over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from coalloc.contract import Fit
from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import BIG_PIPE_SIZE, Era
from coalloc.space.coalescing import CoalescingSpace
from coalloc.space.permap import PerPipeSpace
from coalloc.space.protocol import Space
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
    """

    name: str
    title: str
    make_space: Callable[[Era, KernelMap, int], Space]
    resize_in_place: bool = False

    def build(self, era: Era, limit: int) -> Bench:
        """Build map and space; the map is as large as the limit where the era has a submap of that size.

        Raises:
            InvalidRequestError: If the limit is less than a page.
        """
        if require_size(limit, "limit") < PAGE_SIZE:
            raise InvalidRequestError("limit", limit, f"must be at least a page, {PAGE_SIZE} bytes")
        whole = limit // PAGE_SIZE * PAGE_SIZE
        size = whole if era.maxpipekva_is_hard else round_up(max(whole, KERNEL_MAP_SIZE), PAGE_SIZE)
        kernel = KernelMap(size=size, findspace=era.findspace)
        return Bench(kernel, self.make_space(era, kernel, size))


def _per_pipe(era: Era, kernel: KernelMap, limit: int) -> Space:
    return PerPipeSpace(kernel, kva_limit=limit, own_object=era.own_object)


def _coalescing(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit)


def _cached(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, quantum_cache=BIG_PIPE_SIZE)


def _first_fit(_era: Era, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, fit=Fit.FIRST)


DESIGNS: Final[Mapping[str, Design]] = {
    design.name: design
    for design in (
        Design("per-pipe", "one mapping per buffer, as the kernels do", _per_pipe),
        Design(
            "coalescing", "carved from 4 MiB arenas, best fit, coalesced at once", _coalescing, resize_in_place=True
        ),
        Design("coalescing+cache", "the same with a quantum cache up to 64 KiB", _cached, resize_in_place=True),
        Design("first-fit", "carved from 4 MiB arenas, first fit, coalesced at once", _first_fit, resize_in_place=True),
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
