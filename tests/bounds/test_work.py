"""Counted work against documented complexity; no clocks."""

from __future__ import annotations

import math

import pytest

from coalloc import EAGER, RETAIN, CoalescingSpace, Fit, KernelMap

PAGE = 4096


def comb_of(fit: Fit, holes: int) -> CoalescingSpace:
    """Make a space with this many one-page holes, and one large hole above them."""
    size = 4 * holes * PAGE
    space = CoalescingSpace(KernelMap(base=0, size=size), kva_limit=size, arena_size=size, fit=fit)
    buffers = [space.alloc(PAGE) for _ in range(2 * holes)]
    for base in buffers[::2]:
        space.free(base)
    return space


def visits_of(space: CoalescingSpace, size: int) -> int:
    """Count the holes that one alloc looks at."""
    before = space.stats().holes_visited
    space.alloc(size)
    return space.stats().holes_visited - before


@pytest.mark.parametrize("holes", [16, 256, 4096])
def test_best_and_class_fits_look_at_one_hole(holes: int) -> None:
    """BEST, INSTANT and CLASS_BEST look at one hole for sizes of one and two pages, however many holes there are."""
    for fit in (Fit.BEST, Fit.INSTANT, Fit.CLASS_BEST):
        for size in (PAGE, 2 * PAGE):
            assert visits_of(comb_of(fit, holes), size) == 1


@pytest.mark.parametrize("fit", [Fit.FIRST, Fit.NEXT])
def test_address_ordered_fits_look_at_logarithmically_many_tree_nodes(fit: Fit) -> None:
    """FIRST and NEXT visit at most 6 log2 n tree nodes, even if only the last hole is large enough."""
    for holes in (16, 256, 4096):
        assert visits_of(comb_of(fit, holes), 2 * PAGE) <= 6 * math.log2(holes)


def test_class_best_scans_its_own_class_only() -> None:
    """In the class of 32 to 63 quanta, CLASS_BEST looks at its members and not at those of other classes."""
    size = 4096 * PAGE
    space = CoalescingSpace(KernelMap(base=0, size=size), kva_limit=size, arena_size=size, fit=Fit.CLASS_BEST)
    buffers = []
    for n in (33, 34, 35, 60, 10, 200):
        buffers.append(space.alloc(n * PAGE))
        space.alloc(PAGE)
    for base in buffers:
        space.free(base)
    assert visits_of(space, 40 * PAGE) == 1  # the newest, 60, comes first
    assert visits_of(space, 36 * PAGE) == 4  # 35, 34 and 33 are too small, then the lowest of the higher classes


def test_a_free_joins_at_most_two_neighbours() -> None:
    """Each free coalesces at most two neighbours, and freeing everything leaves one hole."""
    space = comb_of(Fit.BEST, 64)
    before = space.stats().coalesces
    for segment in [s for s in space.segments() if s.kind.value == "busy"]:
        joined = space.stats().coalesces
        space.free(segment.base)
        assert space.stats().coalesces - joined <= 2
    stats = space.stats()
    assert (stats.coalesces - before, stats.holes) == (128, 1)


def test_cached_calls_search_nothing() -> None:
    """Calls that the quantum cache serves visit no hole and coalesce nothing."""
    space = CoalescingSpace(KernelMap(), kva_limit=1 << 24, quantum_cache=PAGE)
    space.free(space.alloc(PAGE))
    before = space.stats()
    for _ in range(100):
        space.free(space.alloc(PAGE))
    after = space.stats()
    assert after.cache_hits - before.cache_hits == 100
    assert (after.holes_visited, after.coalesces) == (before.holes_visited, before.coalesces)


def test_a_load_that_swings_about_an_arenas_edge_does_not_import_and_release_in_turn() -> None:
    """At an arena's edge RETAIN(1) imports once more in all, and EAGER imports at every call."""
    imports = {}
    for release in (EAGER, RETAIN(1)):
        space = CoalescingSpace(KernelMap(), kva_limit=1 << 24, arena_size=16 * PAGE, release=release)
        for _ in range(16):
            space.alloc(PAGE)
        for _ in range(100):
            space.free(space.alloc(PAGE))
        imports[str(release)] = space.stats().imports
    assert imports == {"eager": 101, "retain(1)": 2}


def test_an_impossible_request_is_tried_a_bounded_number_of_times() -> None:
    """An impossible request makes at most three imports and gives each of them back."""
    space = CoalescingSpace(KernelMap(base=0), kva_limit=1 << 30, arena_size=16 * PAGE)
    for _ in range(5):
        with pytest.raises(MemoryError):
            space.xalloc(PAGE, lo=1 << 40)
    stats = space.stats()
    assert stats.imports == stats.releases <= 15
    assert stats.mapped == 0
