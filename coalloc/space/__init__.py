"""Designs that hand out address ranges, all behind one `Space` protocol."""

from coalloc.space.cells import CellSpace
from coalloc.space.coalescing import CACHE_DEPTH, CoalescingSpace
from coalloc.space.permap import PerPipeSpace
from coalloc.space.protocol import ConstrainedSpace, Kind, Segment, Space, SpaceStats

__all__ = [
    "CACHE_DEPTH",
    "CellSpace",
    "CoalescingSpace",
    "ConstrainedSpace",
    "Kind",
    "PerPipeSpace",
    "Segment",
    "Space",
    "SpaceStats",
]
