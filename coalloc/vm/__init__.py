"""What a mapping costs: the source of arenas, a simulated kernel map, and prices for what it counts."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.vm.costs import COSTS, CostModel, Estimate, Price, SpaceWork, load_costs, save_costs
    from coalloc.vm.kernelmap import Findspace, KernelMap, MapCounters, MapEntry
    from coalloc.vm.limit import Limit
    from coalloc.vm.measuring import Measurement, measure, measure_samples
    from coalloc.vm.source import Source
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.vm.costs": "COSTS CostModel Estimate Price SpaceWork load_costs save_costs",
            "coalloc.vm.kernelmap": "Findspace KernelMap MapCounters MapEntry",
            "coalloc.vm.limit": "Limit",
            "coalloc.vm.measuring": "Measurement measure measure_samples",
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
    "Measurement",
    "Price",
    "Source",
    "SpaceWork",
    "load_costs",
    "measure",
    "measure_samples",
    "save_costs",
]
