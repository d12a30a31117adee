"""Designs that hand out address ranges, all behind one `Space` protocol."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.space.buddy import BuddySpace
    from coalloc.space.cached import CachedSpace
    from coalloc.space.cells import CellSpace
    from coalloc.space.coalescing import CACHE_DEPTH, CoalescingSpace
    from coalloc.space.forwarding import ForwardingSpace
    from coalloc.space.perpipe import PerPipeSpace
    from coalloc.space.protocol import ConstrainedSpace, FullSpace, Kind, PerCpu, Segment, Space, SpaceStats
    from coalloc.space.vmem import VmemSpace
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.space.buddy": "BuddySpace",
            "coalloc.space.cached": "CachedSpace",
            "coalloc.space.cells": "CellSpace",
            "coalloc.space.coalescing": "CACHE_DEPTH CoalescingSpace",
            "coalloc.space.forwarding": "ForwardingSpace",
            "coalloc.space.perpipe": "PerPipeSpace",
            "coalloc.space.protocol": "ConstrainedSpace FullSpace Kind PerCpu Segment Space SpaceStats",
            "coalloc.space.vmem": "VmemSpace",
        },
    )

__all__ = [
    "BuddySpace",
    "CACHE_DEPTH",
    "CachedSpace",
    "CellSpace",
    "CoalescingSpace",
    "ConstrainedSpace",
    "ForwardingSpace",
    "FullSpace",
    "Kind",
    "PerCpu",
    "PerPipeSpace",
    "Segment",
    "Space",
    "SpaceStats",
    "VmemSpace",
]
