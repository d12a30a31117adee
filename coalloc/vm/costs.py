"""Prices for counted events: they turn exact counters into an estimate, and say where every number is from.

An estimate is never a measurement.  Counters decide; the estimate only puts counts of different kinds on one scale.

``python -m benchmarks.costs`` measures this host with :func:`measure` and prints the prices.
"""

from __future__ import annotations

import ctypes
import datetime
import hashlib
import mmap
import platform
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.units import PAGE_SIZE, KiB, MiB
from coalloc.vm.kernelmap import COUNTED, MapCounters

__all__ = ["COSTS", "EVENTS", "CostModel", "Estimate", "Price", "SpaceWork", "count_of", "describe_machine", "measure"]

EVENTS: Final = (*COUNTED, "ipis", "cache_hits", "carves", "coalesces")
"""What has a price: the counters of the map, of which ``map_ops`` counts imports, and those of :class:`SpaceWork`."""

_BUFFER: Final = 16 * KiB
_PAGES: Final = _BUFFER // PAGE_SIZE
_ARENA: Final = 4 * MiB
_SMALL: Final = 1000
"""Bytes of a block that malloc(3) keeps in the cache of its thread when it is freed."""
_HITS: Final = 1000
"""Pairs of malloc and free in a row that such blocks are measured by."""
_PAIRS: Final = 32
"""Pairs of blocks, of which one is freed before the other."""


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
    """What one event costs, in nanoseconds (>= 0), and where the number is from."""

    ns: float = attrs.field()
    source: str

    @ns.validator
    def _check(self, _attribute: object, value: float) -> None:
        if value < 0:
            raise InvalidRequestError("ns", value, "a price is not negative")


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


def _model(name: str, measured: Mapping[str, float], measured_on: str) -> CostModel:
    """Give every price its source; what was not measured is part of something that was, or not priced."""
    return CostModel(
        name,
        {event: Price(float(max(0, round(measured.get(event, 0)))), _SOURCES[event]) for event in EVENTS},
        measured_on,
    )


# --- measuring -----------------------------------------------------------------------------------


def describe_machine() -> str:
    """Return processor, system and Python version in one line."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:  # pragma: no cover (a system without /proc)
        names = []
    return f"{names[0] if names else processor}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def measure(*, calls: int = 2000, rounds: int = 9) -> CostModel:
    """Measure mmap, first touch, munmap, madvise, and malloc with free, on this host, and return the prices.

    Each price is the median over ``rounds`` of the mean over ``calls``, less the cost of a foreign call that does
    nothing.  An import, and any other map operation, has the price of mapping 4 MiB.  The price of an inter-processor
    interrupt is what munmap of touched pages costs more while another thread of the process runs on another CPU.

    Args:
        calls: Calls of each kind per round, >= 1.
        rounds: Rounds, >= 1.

    Raises:
        InvalidRequestError: If either is less than 1.
        OSError: If the host refuses a mapping.
    """
    for what, value in (("calls", calls), ("rounds", rounds)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(what, value, "must be an int >= 1")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    libc.labs.argtypes = (ctypes.c_long,)
    libc.labs.restype = ctypes.c_long
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    samples: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., object], arguments: list[tuple[object, ...]]) -> list[object]:
        start = time.perf_counter_ns()
        results = [call(*argument) for argument in arguments]
        samples.setdefault(name, []).append((time.perf_counter_ns() - start) / len(arguments))
        return results

    def map_all(name: str, size: int = _BUFFER) -> list[int]:
        bases = timed(name, libc.mmap, [(None, size, protection, flags, -1, 0)] * calls)
        good = [base for base in bases if isinstance(base, int) and base != 2**64 - 1]
        if len(good) < calls:  # pragma: no cover (a host out of address space)
            raise OSError(ctypes.get_errno(), "mmap failed")
        return good

    def touch_all(name: str, bases: list[int]) -> None:
        timed(name, libc.memset, [(base + page * PAGE_SIZE, 1, 1) for base in bases for page in range(_PAGES)])

    def one_round(suffix: str) -> None:
        timed("empty" + suffix, libc.labs, [(1,)] * calls)
        for base in map_all("import" + suffix, _ARENA):
            libc.munmap(base, _ARENA)
        timed("unmap untouched" + suffix, libc.munmap, [(base, _BUFFER) for base in map_all("map" + suffix)])
        bases = map_all("map" + suffix)
        touch_all("touch" + suffix, bases)
        timed("discard" + suffix, libc.madvise, [(base, _BUFFER, mmap.MADV_DONTNEED) for base in bases])
        touch_all("touch" + suffix, bases)
        timed("unmap touched" + suffix, libc.munmap, [(base, _BUFFER) for base in bases])

    for _ in range(rounds):
        one_round("")
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            hashlib.pbkdf2_hmac("sha256", b"spin", b"salt", 20000)  # runs without the interpreter lock

    spinner = threading.Thread(target=spin)
    spinner.start()
    try:
        for _ in range(rounds):
            one_round(" beside a thread")
    finally:
        stop.set()
        spinner.join()

    def cost(name: str, suffix: str = "") -> float:
        return statistics.median(samples[name + suffix]) - statistics.median(samples["empty" + suffix])

    beside = " beside a thread"
    freeing = cost("unmap touched") - cost("unmap untouched")
    extra = (cost("unmap touched", beside) - cost("unmap untouched", beside)) - freeing
    measured = {
        "map_ops": cost("import"),
        "unmap_ops": cost("unmap untouched"),
        "discard_ops": cost("discard") - freeing,
        "faults": cost("touch"),
        "pages_freed": freeing / _PAGES,
        "ipis": extra,
        **_measure_space_work(max(calls * rounds // _PAIRS, 1)),
    }
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return _model("measured", measured, f"{describe_machine()}, {today}")


def _measure_space_work(rounds: int) -> dict[str, float]:
    """Measure malloc and free by what they do: a hit in the cache of the thread, a carve, a coalescence.

    The blocks are few, so that they stay in the processor's cache, and a block that stays allocated keeps the holes from the
    end of the heap.  Each price is a median over the rounds, less that of a foreign call with the same arguments and result.
    """
    libc = ctypes.CDLL(None)
    takes = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)
    gives = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    malloc, like_malloc = takes(("malloc", libc)), takes(("labs", libc))
    free, like_free = gives(("free", libc)), gives(("labs", libc))

    def timed(call: Callable[[int], int | None], values: list[int]) -> tuple[float, list[int]]:
        start = time.perf_counter_ns()
        results = list(map(call, values))
        return (time.perf_counter_ns() - start) / len(values), [result or 0 for result in results]

    def at_once(take: Callable[[int], int], give: Callable[[int], None], value: int) -> float:
        start = time.perf_counter_ns()
        deque(map(give, map(take, [value] * _HITS)), maxlen=0)
        return (time.perf_counter_ns() - start) / _HITS

    _, blocks = timed(malloc, [_BUFFER] * 2 * _PAIRS)
    _, wall = timed(malloc, [_BUFFER])
    timed(free, blocks)
    hits, carves, coalesces = [], [], []
    for _ in range(rounds):
        no_malloc, _ = timed(like_malloc, blocks)
        carve, blocks = timed(malloc, [_BUFFER] * 2 * _PAIRS)
        no_free, _ = timed(like_free, blocks[::2])
        alone, _ = timed(free, blocks[::2])
        no_join, _ = timed(like_free, blocks[1::2])
        between_holes, _ = timed(free, blocks[1::2])
        carves.append(carve - no_malloc + alone - no_free)
        coalesces.append((between_holes - no_join - alone + no_free) / 2)
        hits.append(at_once(malloc, free, _SMALL) - at_once(like_malloc, like_free, wall[0]))
    timed(free, wall)
    return {
        name: statistics.median(of) for name, of in (("cache_hits", hits), ("carves", carves), ("coalesces", coalesces))
    }


# --- presets -------------------------------------------------------------------------------------

COSTS: Final[Mapping[str, CostModel]] = MappingProxyType(
    {
        "unit": CostModel(
            "unit", {event: Price(1, "1 each, by definition") for event in EVENTS}, "nothing was measured"
        ),
        "measured": _model(
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
"""The presets by name: ``unit`` prices every event at 1, ``measured`` is one host's ``measure()``."""
