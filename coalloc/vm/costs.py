"""Prices for counted events: they turn exact counters into an estimate, and say where every number is from.

An estimate is never a measurement.  Counters decide; the estimate only puts counts of different kinds on one scale.

:func:`coalloc.vm.measuring.measure` measures the prices of this host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.vm.kernelmap import COUNTED, MapCounters

__all__ = [
    "COSTS",
    "EVENTS",
    "CostModel",
    "Estimate",
    "Price",
    "SpaceWork",
    "count_of",
    "load_costs",
    "of_measured",
    "save_costs",
]

EVENTS: Final = (*COUNTED, "ipis", "cache_hits", "carves", "coalesces")
"""What has a price: the counters of the map, of which ``map_ops`` counts imports, and those of :class:`SpaceWork`."""


@attrs.frozen
class SpaceWork:
    """What a space did itself, without the map; every design is counted alike, whatever it declares.

    Args:
        cache_hits: Allocs that a cache served.
        carves: Allocs that neither a cache nor a map operation served, so that a hole was carved.
        coalesces: How often two free neighbours were joined; 0 where a space does not show it.
    """

    cache_hits: int = 0
    carves: int = 0
    coalesces: int = 0

    @classmethod
    def of(cls, allocs: int, cache_hits: int, coalesces: int, map_ops: int) -> SpaceWork:
        """Count the carves: the allocs that no cache served, and for which the map was not asked.

        >>> SpaceWork.of(allocs=10, cache_hits=6, coalesces=3, map_ops=1)
        SpaceWork(cache_hits=6, carves=3, coalesces=3)
        """
        return cls(cache_hits, max(allocs - cache_hits - map_ops, 0), coalesces)


_NO_WORK: Final = SpaceWork()


@attrs.frozen
class Price:
    """What one event costs, in nanoseconds (>= 0), and where the number is from.

    Args:
        ns: The price.
        source: What was measured, in words.
        quartiles: The first and the third quartile of the measurements; None where they are not known.
    """

    ns: float = attrs.field()
    source: str
    quartiles: tuple[float, float] | None = None

    @ns.validator
    def _check(self, _attribute: object, value: float) -> None:
        if type(value) not in (int, float) or not 0 <= value < 1e18:
            raise InvalidRequestError("ns", value, "must be a number of nanoseconds >= 0")


def _frozen_prices(prices: Mapping[str, Price]) -> Mapping[str, Price]:
    return MappingProxyType(dict(prices))


@attrs.frozen
class Estimate:
    """A cost worked out from counts and prices: no measurement, and it says so wherever it is printed."""

    ns: float
    prices: str
    measured_on: str

    def __str__(self) -> str:
        return f"estimated {self.ns / 1e6:,.3f} ms (prices {self.prices!r}: {self.measured_on})"


@attrs.frozen
class CostModel:
    """A price for every event.

    Args:
        name: What to call it.
        prices: One :class:`Price` for each of ``EVENTS``.
        measured_on: Machine and date, or a note that nothing was measured.

    Raises:
        InvalidRequestError: If an event has no price, or a price no event.

    >>> COSTS["unit"].estimate(MapCounters(map_ops=3, faults=2), SpaceWork(carves=4)).ns
    9.0
    """

    name: str
    prices: Mapping[str, Price] = attrs.field(converter=_frozen_prices, hash=False)
    measured_on: str

    @prices.validator
    def _check(self, _attribute: object, value: Mapping[str, Price]) -> None:
        if set(value) != set(EVENTS):
            odd = sorted(set(value) ^ set(EVENTS))
            raise InvalidRequestError("prices", odd, "every event needs a price, and only events have one")

    @property
    def words(self) -> str:
        """Where the prices are from: what stands behind "estimated with"."""
        return "a price of 1 for every event" if self.name == "unit" else f"prices measured on {self.measured_on}"

    def __reduce__(self) -> tuple[type[CostModel], tuple[str, dict[str, Price], str]]:
        """Pickle it, although its prices cannot be changed."""
        return CostModel, (self.name, dict(self.prices), self.measured_on)

    def estimate(self, counters: MapCounters, work: SpaceWork = _NO_WORK) -> Estimate:
        """Estimate what was counted.

        Args:
            counters: What a kernel map did.
            work: What the space over it did.
        """
        ns = sum(price.ns * count_of(event, counters, work) for event, price in self.prices.items())
        return Estimate(float(ns), self.name, self.measured_on)


def count_of(event: str, counters: MapCounters, work: SpaceWork) -> int:
    """Return how often an event of ``EVENTS`` happened."""
    count: int = getattr(work if hasattr(work, event) else counters, event)
    return count


_SOURCES: Final = {
    "map_ops": "mmap(2) of 4 MiB of anonymous memory: an import",
    "unmap_ops": "munmap(2) of 16 KiB that were never touched",
    "discard_ops": "madvise(MADV_DONTNEED) of 4 resident pages, less freeing the pages",
    "faults": "first write to a page of an anonymous mapping",
    "pages_freed": "munmap(2) of 4 resident pages, less that of untouched ones, by page",
    "ipis": "what munmap(2) of resident pages costs more beside a thread on another CPU",
    "cache_hits": "malloc(3) and free(3) of 1,000 bytes in the cache of a thread",
    "carves": "malloc(3) of 16 KiB out of a larger hole, and a free(3) of it between live blocks",
    "coalesces": "half of what a free(3) of 16 KiB between two holes costs more than one between live blocks",
    "findspace_probes": "counted, not priced: no call from user space isolates one step of the search",
    "entries_allocated": "part of map_ops",
    "entry_merges": "part of map_ops",
    "lock_acquisitions": "part of map_ops and unmap_ops",
    "entries_freed": "part of unmap_ops",
    "map_failures": "counted, not priced: hosts do not run out of address space",
    "tlb_shootdowns": "part of pages_freed; on the other CPUs, of ipis",
}


def of_measured(
    name: str,
    measured: Mapping[str, float],
    measured_on: str,
    quartiles: Mapping[str, tuple[float, float]] | None = None,
) -> CostModel:
    """Give every price its source; what was not measured is part of something that was, or not priced.

    Args:
        name: What to call the model.
        measured: Nanoseconds by event; they are rounded, and none is below 0.
        measured_on: Machine and date.
        quartiles: The first and the third quartile of each, where they are known.
    """
    spread = quartiles or {}
    return CostModel(
        name,
        {
            event: Price(float(max(0, round(measured.get(event, 0)))), _SOURCES[event], spread.get(event))
            for event in EVENTS
        },
        measured_on,
    )


def save_costs(model: CostModel, path: str | PathLike[str]) -> None:
    """Write prices as JSON, which :func:`load_costs` reads.

    Raises:
        OSError: If the file cannot be written.
    """
    prices = {event: attrs.asdict(price) for event, price in model.prices.items()}
    record = {"name": model.name, "measured_on": model.measured_on, "prices": prices}
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=2) + "\n")


def load_costs(path: str | PathLike[str]) -> CostModel:
    """Read prices that :func:`save_costs` wrote.

    Raises:
        InvalidRequestError: If the file has another form, or a price is missing or is no price.
        OSError: If it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(_MOST_TEXT)
    try:
        record = json.loads(text)
        prices = {event: _price(price) for event, price in record["prices"].items()}
        return CostModel(str(record["name"]), prices, str(record["measured_on"]))
    except InvalidRequestError as error:
        raise InvalidRequestError("costs", fspath(path), f"{error.what}: {error.reason}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidRequestError(
            "costs", fspath(path), "is no file of prices; coalloc costs measure -o writes one"
        ) from None


def _price(record: Mapping[str, Any]) -> Price:
    quartiles = record.get("quartiles")
    if quartiles is None:
        return Price(record["ns"], str(record["source"]))
    first, third = quartiles
    return Price(record["ns"], str(record["source"]), (float(first), float(third)))


_MOST_TEXT: Final = 1 << 20
"""The most characters of a file of prices that are read."""


# --- presets -------------------------------------------------------------------------------------

COSTS: Final[Mapping[str, CostModel]] = MappingProxyType(
    {
        "unit": CostModel(
            "unit", {event: Price(1, "1 each, by definition") for event in EVENTS}, "nothing was measured"
        ),
        "measured": of_measured(
            "measured",
            {
                "map_ops": 3246,
                "unmap_ops": 2803,
                "discard_ops": 563,
                "faults": 2920,
                "pages_freed": 1102,
                "ipis": 6778,
                "cache_hits": 31,
                "carves": 120,
                "coalesces": 11,
            },
            "AMD EPYC, 2 virtual CPUs, Linux 6.18.44, Python 3.11.7, 2026-11-27",
        ),
    }
)
"""The presets by name: ``unit`` prices every event at 1, ``measured`` is one host's ``coalloc.vm.measuring.measure()``."""
