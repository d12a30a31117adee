"""Designs that hand out address ranges, all behind one `Space` protocol."""

from coalloc.space.buddy import BuddySpace
from coalloc.space.cached import CachedSpace
from coalloc.space.cells import CellSpace
from coalloc.space.coalescing import CACHE_DEPTH, CoalescingSpace
from coalloc.space.permap import PerPipeSpace
from coalloc.space.protocol import ConstrainedSpace, Kind, Segment, Space, SpaceStats
from coalloc.space.vmem import VmemSpace

__all__ = [
    "BuddySpace",
    "CACHE_DEPTH",
    "CachedSpace",
    "CellSpace",
    "CoalescingSpace",
    "ConstrainedSpace",
    "Kind",
    "PerPipeSpace",
    "Segment",
    "Space",
    "SpaceStats",
    "VmemSpace",
]
