"""`measure`: the prices of this machine, each measured by real calls, with its spread.

A round times so many calls of each kind, and so many calls of a foreign function that does nothing; a price is what is left, so
that every round gives a sample of every price.  The model takes the medians.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import hashlib
import mmap
import platform
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.units import PAGE_SIZE, KiB, MiB
from coalloc.vm.costs import EVENTS, CostModel, of_measured

__all__ = [
    "FURTHER",
    "Measurement",
    "describe_machine",
    "measure",
    "measure_samples",
    "quartiles",
    "small_pages",
    "spinning",
]

FURTHER: Final = {
    "lock": "pthread_mutex_lock(3) and pthread_mutex_unlock(3) that nobody else wants",
    "copy": "memcpy(3) of 4 KiB in the processor's cache",
}
"""What is measured beside the prices of ``EVENTS``, and is in no estimate."""
_BUFFER: Final = 16 * KiB
_PAGES: Final = _BUFFER // PAGE_SIZE
_ARENA: Final = 4 * MiB
_SMALL: Final = 1000
"""Bytes of a block that malloc(3) keeps in the cache of its thread when it is freed."""
_HITS: Final = 1000
"""Pairs of malloc and free in a row that such blocks are measured by."""
_PAIRS: Final = 32
"""Pairs of blocks, of which one is freed before the other."""
_PR_SET_THP_DISABLE: Final = 41
_FAILED: Final = 2**64 - 1


def quartiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile, which lie between the least and the most; of one sample that sample twice.

    >>> quartiles([1, 2, 3, 4, 5]), quartiles([7.0])
    ((2.0, 4.0), (7.0, 7.0))
    """
    if len(samples) == 1:
        return samples[0], samples[0]
    first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, third


@attrs.frozen
class Measurement:
    """Samples of every price.

    Args:
        samples: Nanoseconds by event, or by the name of something in ``FURTHER``: a sample for each round.
        measured_on: Machine and date.
    """

    samples: Mapping[str, tuple[float, ...]]
    measured_on: str

    def median(self, name: str) -> float:
        """Return the median of a price."""
        return statistics.median(self.samples[name])

    def quartiles(self, name: str) -> tuple[float, float]:
        """Return the first and the third quartile of a price; twice the sample where there is one."""
        return quartiles(self.samples[name])

    def model(self, name: str = "measured") -> CostModel:
        """Return the medians as prices, with their quartiles."""
        events = [event for event in EVENTS if event in self.samples]
        return of_measured(
            name,
            {event: self.median(event) for event in events},
            self.measured_on,
            {event: self.quartiles(event) for event in events},
        )


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
    """Measure this machine, and return the prices: the medians of :func:`measure_samples`.

    Args:
        calls: As there.
        rounds: As there.

    Raises:
        InvalidRequestError: As there.
        OSError: As there.
    """
    return measure_samples(calls=calls, rounds=rounds).model()


def measure_samples(
    *, calls: int = 2000, rounds: int = 9, progress: Callable[[int], None] | None = None
) -> Measurement:
    """Measure mmap, first touch, munmap, madvise, malloc with free, a mutex and memcpy on this machine.

    An import, and any other map operation, has the price of mapping 4 MiB.  The price of an inter-processor interrupt is what
    munmap of touched pages costs more while another thread of the process runs on another CPU.  Huge pages are not used.

    Args:
        calls: Calls of each kind in a round, >= 1.
        rounds: Rounds, >= 1.
        progress: Called with the number of rounds that are done, of twice as many.

    Raises:
        InvalidRequestError: If either is less than 1.
        OSError: If the host refuses a mapping.
    """
    for what, value in (("calls", calls), ("rounds", rounds)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(what, value, "must be an int >= 1")
    alone, beside = [], []
    with small_pages():
        for number in range(rounds):
            alone.append(_round(calls))
            if progress is not None:
                progress(number + 1)
        with spinning(1):
            for number in range(rounds):
                beside.append(_round(calls))
                if progress is not None:
                    progress(rounds + number + 1)
    work = _measure_space_work(max(calls // _PAIRS, 1), rounds)
    samples: dict[str, list[float]] = {}
    for number, (one, other) in enumerate(zip(alone, beside, strict=True)):
        freeing = one["unmap touched"] - one["unmap untouched"]
        extra = other["unmap touched"] - other["unmap untouched"] - freeing
        prices = {
            "map_ops": one["import"],
            "unmap_ops": one["unmap untouched"],
            "discard_ops": one["discard"] - freeing,
            "faults": one["touch"],
            "pages_freed": freeing / _PAGES,
            "ipis": extra,
            "lock": one["lock"],
            "copy": one["copy"],
            **{name: of[number] for name, of in work.items()},
        }
        for name, ns in prices.items():
            samples.setdefault(name, []).append(max(ns, 0.0))
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return Measurement({name: tuple(of) for name, of in samples.items()}, f"{describe_machine()}, {today}")


@contextlib.contextmanager
def small_pages() -> Iterator[None]:
    """Have no huge pages in this process, where the system has a call for that: one fault would bring 2 MiB."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:  # pragma: no cover (another system)
        yield
        return
    prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)


@contextlib.contextmanager
def spinning(threads: int) -> Iterator[None]:
    """Keep so many threads of this process running on other CPUs, so that their TLBs have to be told of what is unmapped."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            hashlib.pbkdf2_hmac("sha256", b"spin", b"salt", 20000)  # runs without the interpreter lock

    spinners = [threading.Thread(target=spin) for _ in range(threads)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        stop.set()
        for spinner in spinners:
            spinner.join()


def _round(calls: int) -> dict[str, float]:
    """Return the nanoseconds of each kind of call, less those of a call that does nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    libc.memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    libc.labs.argtypes = (ctypes.c_long,)
    libc.labs.restype = ctypes.c_long
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

    def timed(call: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> tuple[float, list[object]]:
        start = time.perf_counter_ns()
        results = [call(*argument) for argument in arguments]
        return (time.perf_counter_ns() - start) / len(arguments), results

    empty = timed(libc.labs, [(1,)] * calls)[0]

    def cost(call: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> float:
        return timed(call, arguments)[0] - empty

    def mapped(size: int) -> tuple[float, list[int]]:
        ns, bases = timed(libc.mmap, [(None, size, protection, flags, -1, 0)] * calls)
        good = [base for base in bases if isinstance(base, int) and base != _FAILED]
        if len(good) < calls:  # pragma: no cover (a host out of address space)
            raise OSError(ctypes.get_errno(), "mmap failed")
        return ns - empty, good

    def pages(bases: list[int]) -> list[tuple[int, int, int]]:
        return [(base + page * PAGE_SIZE, 1, 1) for base in bases for page in range(_PAGES)]

    found: dict[str, float] = {}
    found["import"], arenas = mapped(_ARENA)
    for base in arenas:
        libc.munmap(base, _ARENA)
    found["unmap untouched"] = cost(libc.munmap, [(base, _BUFFER) for base in mapped(_BUFFER)[1]])
    bases = mapped(_BUFFER)[1]
    first = cost(libc.memset, pages(bases))
    found["discard"] = cost(libc.madvise, [(base, _BUFFER, mmap.MADV_DONTNEED) for base in bases])
    found["touch"] = (first + cost(libc.memset, pages(bases))) / 2
    found["unmap touched"] = cost(libc.munmap, [(base, _BUFFER) for base in bases])
    mutex = ctypes.create_string_buffer(128)  # a pthread_mutex_t of zeros is one that nobody holds
    takes = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    # toascii(3) returns a small number, as the other two do: a large one would take time to make.
    lock, unlock, like = (takes((name, libc)) for name in ("pthread_mutex_lock", "pthread_mutex_unlock", "toascii"))

    def pairs(first: Callable[[int], int], second: Callable[[int], int]) -> float:
        at = ctypes.addressof(mutex)
        start = time.perf_counter_ns()
        for _ in range(calls):
            first(at)
            second(at)
        return (time.perf_counter_ns() - start) / calls

    found["lock"] = pairs(lock, unlock) - pairs(like, like)
    source, target = ctypes.create_string_buffer(PAGE_SIZE), ctypes.create_string_buffer(PAGE_SIZE)
    ends = (ctypes.addressof(target), ctypes.addressof(source))
    found["copy"] = cost(libc.memcpy, [(*ends, PAGE_SIZE)] * calls) - cost(libc.memcpy, [(*ends, 0)] * calls)
    return found


def _measure_space_work(repeats: int, rounds: int) -> dict[str, list[float]]:
    """Measure malloc and free by what they do: a hit in the cache of the thread, a carve, a coalescence.

    The blocks are few, so that they stay in the processor's cache, and a block that stays allocated keeps the holes from the
    end of the heap.  Each sample is a median over the repeats, less that of a foreign call with the same arguments and result.
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
    samples: dict[str, list[float]] = {"cache_hits": [], "carves": [], "coalesces": []}
    for _ in range(rounds):
        hits, carves, coalesces = [], [], []
        for _ in range(repeats):
            no_malloc, _ = timed(like_malloc, blocks)
            carve, blocks = timed(malloc, [_BUFFER] * 2 * _PAIRS)
            no_free, _ = timed(like_free, blocks[::2])
            alone, _ = timed(free, blocks[::2])
            no_join, _ = timed(like_free, blocks[1::2])
            between_holes, _ = timed(free, blocks[1::2])
            carves.append(carve - no_malloc + alone - no_free)
            coalesces.append((between_holes - no_join - alone + no_free) / 2)
            hits.append(at_once(malloc, free, _SMALL) - at_once(like_malloc, like_free, wall[0]))
        for name, of in (("cache_hits", hits), ("carves", carves), ("coalesces", coalesces)):
            samples[name].append(statistics.median(of))
    timed(free, wall)
    return samples
