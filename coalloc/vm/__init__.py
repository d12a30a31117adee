"""What a mapping costs: the source of arenas, a simulated kernel map, and prices for what it counts."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.vm.costs import COSTS, CostModel, Estimate, Price, SpaceWork, measure
    from coalloc.vm.kernelmap import Findspace, KernelMap, MapCounters, MapEntry
    from coalloc.vm.limit import Limit
    from coalloc.vm.source import Source
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.vm.costs": "COSTS CostModel Estimate Price SpaceWork measure",
            "coalloc.vm.kernelmap": "Findspace KernelMap MapCounters MapEntry",
            "coalloc.vm.limit": "Limit",
            "coalloc.vm.source": "Source",
        },
    )

__all__ = [
    "COSTS",
    "CostModel",
    "Estimate",
    "Findspace",
    "KernelMap",
    "Limit",
    "MapCounters",
    "MapEntry",
    "Price",
    "Source",
    "SpaceWork",
    "measure",
]
