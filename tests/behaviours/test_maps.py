"""B26 to B31: the address-space model; and B33 to B37 for the reference space, where it behaves as vmem does."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from coalloc import EAGER, NEVER, CoalescingSpace, Fit, KernelMap, NoSpaceError
from coalloc.space.cells import CellSpace
from coalloc.vm.kernelmap import Findspace
from tests.behaviours.designs import map_own

PAGE = 4096
BOTH: tuple[Findspace, ...] = ("tree", "linear")


def scattered(findspace: Findspace, live: int, seed: int = 1) -> KernelMap:
    """Make a map with many one-page gaps: buffers with objects of their own, of which every other one is freed."""
    kernel = KernelMap(base=0, size=16 * live * PAGE, findspace=findspace, own_objects=True)
    bases = [kernel.map(PAGE) for _ in range(2 * live)]
    order = bases[1::2]
    random.Random(seed).shuffle(order)
    for base in order:
        kernel.unmap(base, PAGE)
    return kernel


def test_b26_first_fit_is_the_lowest_address_whatever_the_search() -> None:
    """Both searches give the lowest address that fits, as a scan over all pages does."""
    generator = random.Random(5)
    maps = [KernelMap(base=0, size=256 * PAGE, findspace=how) for how in BOTH]
    oracle = CellSpace(256 * PAGE, fit=Fit.FIRST)
    live: list[tuple[int, int]] = []
    for _ in range(600):
        if live and generator.random() < 0.5:
            base, size = live.pop(generator.randrange(len(live)))
            oracle.free(base)
            for kernel in maps:
                kernel.unmap(base, size)
        else:
            size = generator.choice([1, 4, 16]) * PAGE
            base_or_none = oracle.choose(size, Fit.FIRST)
            for kernel in maps:
                if base_or_none is None:
                    with pytest.raises(NoSpaceError):
                        kernel.map(size)
                else:
                    assert kernel.map(size) == base_or_none
            if base_or_none is not None:
                oracle.put(base_or_none, size)
                live.append((base_or_none, size))


def test_b27_a_linear_search_visits_entries_in_proportion_a_tree_their_logarithm() -> None:
    """A request that passes n gaps costs exactly n probes in the list and at most 3 log2 n in the tree."""
    for live in (64, 256, 1024, 4096):
        probes = {}
        for how in BOTH:
            kernel = scattered(how, live)
            before = kernel.counters().findspace_probes
            kernel.map(2 * PAGE)
            probes[how] = kernel.counters().findspace_probes - before
        assert probes["linear"] == live
        assert probes["tree"] <= 3 * math.log2(live)


def test_b27_a_linear_walk_starts_at_the_first_gap() -> None:
    """A linear search starts at the first gap and does not visit the entries below it."""
    kernel = KernelMap(base=0, size=64 * PAGE, findspace="linear", own_objects=True)
    bases = [kernel.map(PAGE) for _ in range(20)]
    for probe in range(3):
        assert kernel.counters().findspace_probes == 20 + probe
        kernel.unmap(bases[10], PAGE)
        assert kernel.map(PAGE) == bases[10]
    kernel.unmap(bases[10], PAGE)
    kernel.map(2 * PAGE)
    assert kernel.counters().findspace_probes == 23 + 10
    with pytest.raises(NoSpaceError):
        kernel.map(63 * PAGE)
    assert kernel.counters().findspace_probes == 33 + 11


def test_b28_entries_of_back_to_back_buffers() -> None:
    """Back-to-back buffers share one map entry, and have one entry each when they have objects of their own."""
    kernel = KernelMap(base=0)
    bases = [kernel.map(4 * PAGE) for _ in range(10)]
    assert len(kernel.entries()) == 1
    kernel.unmap(bases[4], 4 * PAGE)
    assert len(kernel.entries()) == 2
    assert len({entry.object_id for entry in kernel.entries()}) == 1
    assert kernel.map(4 * PAGE) == bases[4]
    assert len(kernel.entries()) == 3
    own = KernelMap(base=0, own_objects=True)
    for _ in range(10):
        own.map(4 * PAGE)
    assert len(own.entries()) == 10
    assert own.counters().entry_merges == 0


@pytest.mark.parametrize(
    ("change", "merges"),
    [("none", True), ("other object", False), ("offset", False), ("own object", False), ("a gap", False)],
)
def test_b29_merging_requires_adjacency_one_object_and_contiguous_offsets(change: str, merges: bool) -> None:
    """A gap, another object, an object of its own or a wrong offset each prevents that entries are merged."""
    kernel = KernelMap(base=0)
    kernel.map(PAGE)
    wedge = map_own(kernel, PAGE)
    kernel.map(PAGE)
    low, high = kernel._by_start[0], kernel._by_start[2 * PAGE]
    kernel.touch(0, PAGE)
    high.object, high.offset = low.object, 2 * PAGE
    assert low.object is not None
    low.object.references, low.object.size = 2, PAGE
    if change == "other object":
        high.object = kernel._new_object(PAGE)
        low.object.references = 1
    elif change == "offset":
        high.offset = PAGE
    elif change == "own object":
        high.own = True
    kernel.unmap(wedge, PAGE)
    if change == "a gap":
        kernel.unmap(2 * PAGE, PAGE)
        map_own(kernel, PAGE)
        kernel.unmap(PAGE, PAGE)
        low.object.references = 1
        assert len(kernel.entries()) == 1
        return
    kernel.map(PAGE)
    assert len(kernel.entries()) == (1 if merges else 2)


def test_b30_a_shoot_down_is_counted_if_and_only_if_a_page_was_touched() -> None:
    """Unmapping a range with touched pages interrupts every other CPU once; an untouched range interrupts none."""
    kernel = KernelMap(base=0, cpus=8)
    untouched, touched = kernel.map(4 * PAGE), kernel.map(4 * PAGE)
    kernel.touch(touched, 3 * PAGE)
    kernel.unmap(untouched, 4 * PAGE)
    assert (kernel.counters().tlb_shootdowns, kernel.counters().ipis) == (0, 0)
    kernel.unmap(touched, 4 * PAGE)
    assert (kernel.counters().tlb_shootdowns, kernel.counters().ipis, kernel.counters().pages_freed) == (1, 7, 3)
    alone = KernelMap(base=0, cpus=1)
    base = alone.map(PAGE)
    alone.touch(base, 1)
    alone.unmap(base, PAGE)
    assert (alone.counters().tlb_shootdowns, alone.counters().ipis) == (1, 0)


def test_b31_the_timestamp_rises_at_each_exclusive_lock() -> None:
    """Mapping, even in vain, and unmapping raise the timestamp; touching and discarding pages do not."""
    kernel = KernelMap(base=0, size=4 * PAGE)
    base = kernel.map(PAGE)
    kernel.touch(base, PAGE)
    kernel.discard(base, PAGE)
    assert kernel.timestamp == 1
    with pytest.raises(NoSpaceError):
        kernel.map(16 * PAGE)
    kernel.unmap(base, PAGE)
    assert kernel.timestamp == kernel.counters().lock_acquisitions == 3


def test_b33_instant_fit_looks_at_one_hole_of_a_class_and_falls_back() -> None:
    """A hole of 40 pages serves a request of 36 although a smaller hole heads its class."""
    kernel = KernelMap(base=0, size=200 * PAGE)
    space = CoalescingSpace(kernel, kva_limit=200 * PAGE, arena_size=200 * PAGE, fit=Fit.INSTANT)
    space.alloc(PAGE)
    a = space.alloc(40 * PAGE)
    space.alloc(PAGE)
    b = space.alloc(34 * PAGE)
    space.alloc(124 * PAGE)
    space.free(a)
    space.free(b)
    assert space.alloc(36 * PAGE) == a


def test_b34_frees_merge_both_neighbours_never_across_arenas_and_imported_arenas_are_released() -> None:
    """A free coalesces with both neighbours within its arena, and an eager space releases an empty arena."""
    kernel = KernelMap(base=0, size=8 * PAGE)
    space = CoalescingSpace(kernel, kva_limit=8 * PAGE, arena_size=4 * PAGE, release=NEVER)
    buffers = [space.alloc(PAGE) for _ in range(8)]
    for base in buffers[::2] + buffers[1::2]:
        space.free(base)
    assert [(s.base, s.size) for s in space.segments()] == [(0, 4 * PAGE), (4 * PAGE, 4 * PAGE)]
    eager = CoalescingSpace(KernelMap(), kva_limit=8 * PAGE, arena_size=4 * PAGE, release=EAGER)
    eager.free(eager.alloc(PAGE))
    assert eager.stats().mapped == 0


def test_b35_constraints_are_honoured_and_an_impossible_request_changes_nothing() -> None:
    """One call honours align, phase, nocross and bounds, and an impossible request changes no segment."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    space = CoalescingSpace(kernel, kva_limit=64 * PAGE, arena_size=64 * PAGE)
    base = space.xalloc(3 * PAGE, align=8 * PAGE, phase=2 * PAGE, nocross=16 * PAGE, lo=5 * PAGE, hi=30 * PAGE)
    assert base == 10 * PAGE
    before = space.segments()
    with pytest.raises(NoSpaceError):
        space.xalloc(3 * PAGE, align=8 * PAGE, lo=9 * PAGE, hi=14 * PAGE)
    assert space.segments() == before


def test_b36_cached_frees_are_invisible_to_merging_until_drained() -> None:
    """Cached buffers form no holes until exhaustion drains the cache and the request is tried again."""
    kernel = KernelMap(base=0, size=8 * PAGE)
    space = CoalescingSpace(kernel, kva_limit=8 * PAGE, arena_size=8 * PAGE, quantum_cache=2 * PAGE)
    buffers = [space.alloc(PAGE) for _ in range(8)]
    for base in buffers:
        space.free(base)
    assert space.stats().holes == 0
    assert space.alloc(8 * PAGE) == 0


def test_b37_segments_tile_each_arena_and_busy_ones_sum_up() -> None:
    """After a random history the segments tile each arena, and the busy ones add up to the live bytes."""
    generator = random.Random(11)
    space = CoalescingSpace(KernelMap(base=0), kva_limit=1 << 24, arena_size=64 * PAGE)
    live: list[int] = []
    for _ in range(500):
        if live and generator.random() < 0.45:
            space.free(live.pop(generator.randrange(len(live))))
        else:
            live.append(space.alloc(generator.randint(1, 8) * PAGE))
    segments = space.segments()
    for low, high in pairwise(segments):
        assert low.end == high.base or low.arena != high.arena
    assert sum(s.size for s in segments if s.kind.value == "busy") == space.stats().live
    space.check()
