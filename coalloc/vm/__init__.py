"""What a mapping costs: the source of arenas, a simulated kernel map, and prices for what it counts."""

from coalloc.vm.costs import COSTS, CostModel, Estimate, Price, measure
from coalloc.vm.kernelmap import Findspace, KernelMap, MapCounters, MapEntry
from coalloc.vm.source import Source

__all__ = [
    "COSTS",
    "CostModel",
    "Estimate",
    "Findspace",
    "KernelMap",
    "MapCounters",
    "MapEntry",
    "Price",
    "Source",
    "measure",
]
