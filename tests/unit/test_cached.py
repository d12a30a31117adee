"""A cache in front of a space."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    BadFreeError,
    BuddySpace,
    CachedSpace,
    CellSpace,
    Coalescing,
    CoalescingSpace,
    FreeFault,
    InvalidRequestError,
    KernelMap,
    Kind,
    NoSpaceError,
    PerPipeSpace,
    Resize,
)

PAGE = 4096


def make(pages: int = 8, *, depth: int | None = 2, ncpus: int = 1) -> CachedSpace:
    """Make a cache of one and two pages over one mapping per buffer."""
    below = PerPipeSpace(KernelMap(base=0, size=pages * PAGE), kva_limit=pages * PAGE)
    return CachedSpace(below, sizes=[PAGE, 2 * PAGE], depth=depth, ncpus=ncpus)


def test_the_newest_of_its_size_on_its_cpu_is_handed_out() -> None:
    """The cache hands out the buffer of the size that was freed last on the same CPU."""
    space = make(ncpus=2)
    a, b, c = (space.alloc(PAGE) for _ in range(3))
    space.free(a)
    space.free(b)
    space.cpu = 1
    assert space.alloc(PAGE) not in (a, b)
    space.cpu = 0
    assert (space.alloc(1), space.alloc(PAGE)) == (b, a)
    assert space.size_of(c) == PAGE
    assert (space.stats().cache_hits, space.stats().allocs, space.stats().frees) == (2, 6, 2)
    space.check()


def test_the_depth_is_for_all_sizes_together() -> None:
    """The depth bounds the cached buffers of all sizes together, and None bounds nothing."""
    space = make()
    bases = [space.alloc(n * PAGE) for n in (1, 2, 1, 4)]
    for base in bases:
        space.free(base)
    assert [(s.size // PAGE, s.kind) for s in space.segments()] == [(1, Kind.CACHED), (2, Kind.CACHED)]
    assert (space.stats().cached, space.stats().live) == (3 * PAGE, 0)
    whole = make(depth=None)
    for base in [whole.alloc(PAGE) for _ in range(8)]:
        whole.free(base)
    assert whole.stats().cached == 8 * PAGE
    assert whole.render(8).count("|cccccccc|") == 8


def test_a_refusal_below_drains_the_cache_and_tries_again() -> None:
    """When the space below refuses, the cache is drained and the request tried again before it is refused."""
    space = make(4)
    bases = [space.alloc(PAGE) for _ in range(4)]
    for base in bases[:2]:
        space.free(base)
    assert space.alloc(2 * PAGE) == 0
    assert space.stats().drained == 2
    with pytest.raises(MemoryError):
        space.alloc(PAGE)
    space.free(bases[3])
    with pytest.raises(MemoryError):
        space.alloc(3 * PAGE)
    assert (space.stats().refusals, space.stats().cached) == (2, 0)
    space.check()


def test_what_is_cached_is_not_live() -> None:
    """A cached buffer can neither be freed nor asked for its size, and reclaim gives it back."""
    space = make()
    base = space.alloc(PAGE)
    space.free(base)
    for call in (space.free, space.size_of):
        with pytest.raises(BadFreeError):
            call(base)
    assert space.reclaim() == PAGE
    assert space.segments() == ()
    with pytest.raises(BadFreeError):
        space.free(base)


def test_a_resize_moves_and_uses_the_cache() -> None:
    """A resize moves the buffer and caches the old one for the next request."""
    space = make()
    base = space.alloc(PAGE)
    assert space.resize(base, 100) == base
    moved = space.resize(base, 2 * PAGE)
    assert (space.size_of(moved), space.stats().cached, space.stats().resizes_moved) == (2 * PAGE, PAGE, 1)
    assert space.resize(moved, PAGE) == base
    space.touch(base, PAGE)
    space.discard(base, PAGE)
    rounded = CachedSpace(BuddySpace(KernelMap(base=0, size=8 * PAGE), kva_limit=8 * PAGE), sizes=[4 * PAGE])
    block = rounded.alloc(3 * PAGE)
    assert rounded.resize(block, 4 * PAGE) == block


def test_it_promises_what_the_space_below_does_but_for_what_it_keeps() -> None:
    """The contract of a cache defers coalescing and moves on resize; limit and quantum come from below."""
    contract = make().contract
    assert (contract.coalescing, contract.resize) == (Coalescing.DEFERRED, Resize.MOVING)
    assert (make().quantum, make().kva_limit) == (PAGE, 8 * PAGE)
    assert make().available() == 8 * PAGE
    assert CachedSpace(CellSpace(8, quantum=1), sizes=[1]).available() == 0


def test_it_is_a_source_for_another_space() -> None:
    """A cache can be the source of an arena allocator and keeps the arenas that are released."""
    front = make(8, depth=None)
    space = CoalescingSpace(front, kva_limit=8 * PAGE, arena_size=2 * PAGE)
    space.free(space.alloc(PAGE))
    space.reclaim()
    assert (front.stats().cached, space.stats().mapped) == (2 * PAGE, 0)
    space.alloc(PAGE)
    assert front.stats().cache_hits == 1
    space.check()


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"depth": -1}, "depth"), ({"depth": 1.5}, "depth"), ({"ncpus": 0}, "ncpus"), ({"sizes": [0]}, "sizes"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_by_name(keywords: dict[str, Any], what: str) -> None:
    """A bad argument of the constructor is refused by its name."""
    below = PerPipeSpace(KernelMap(), kva_limit=1 << 20)
    with pytest.raises(InvalidRequestError) as caught:
        CachedSpace(below, **({"sizes": [PAGE]} | keywords))
    assert caught.value.what == what


def test_addresses_and_cpus_are_checked() -> None:
    """Bad addresses and CPUs are refused, and an address inside a cached buffer is not inside a live one."""
    space = make(ncpus=2)
    base = space.alloc(2 * PAGE)
    space.free(base)
    with pytest.raises(BadFreeError) as caught:
        space.free(base + 1)
    assert (caught.value.fault, caught.value.inside) == (FreeFault.NEVER_ALLOCATED, None)
    other = space.alloc(PAGE)
    with pytest.raises(BadFreeError) as caught:
        space.free(other + 1)
    assert caught.value.inside == (other, PAGE)
    addresses: tuple[Any, ...] = (None, float(base), [])
    for address in addresses:
        with pytest.raises(InvalidRequestError):
            space.free(address)
    for cpu in (2, -1, 1.0):
        with pytest.raises(InvalidRequestError, match="cpu"):
            space.cpu = cpu  # type: ignore[assignment]
    assert space.cpu == 0


def test_nothing_is_kept_with_a_depth_of_zero() -> None:
    """With a depth of zero the cache keeps nothing."""
    space = make(2, depth=0)
    space.free(space.alloc(PAGE))
    assert space.stats().cached == 0
    space.alloc(2 * PAGE)
    with pytest.raises((NoSpaceError, MemoryError)):
        space.alloc(PAGE)
    assert space.stats().refusals == 1
