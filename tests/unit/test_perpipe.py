"""The per-buffer baseline."""

from __future__ import annotations

import pytest

from coalloc import BadFreeError, FreeFault, InvalidRequestError, KernelMap, KvaLimitError, NoSpaceError, PerPipeSpace
from coalloc.contract import Resize
from coalloc.errors import Change, Remedy

PAGE = 4096


def make(pages: int = 8, limit: int = 8) -> tuple[KernelMap, PerPipeSpace]:
    """Make a baseline over a small map at address 0."""
    kernel = KernelMap(base=0, size=pages * PAGE)
    return kernel, PerPipeSpace(kernel, kva_limit=limit * PAGE)


def test_one_map_and_one_unmap_per_buffer() -> None:
    """The kernel map counts one map for each alloc and one unmap for each free."""
    kernel, space = make()
    a, b = space.alloc(PAGE), space.alloc(5000)
    assert (a, b, space.size_of(b)) == (0, PAGE, 2 * PAGE)
    space.free(a)
    assert (kernel.counters().map_ops, kernel.counters().unmap_ops) == (2, 1)
    stats = space.stats()
    assert (stats.live, stats.mapped, stats.arenas, stats.imports, stats.releases) == (2 * PAGE, 2 * PAGE, 1, 2, 1)
    assert (stats.peak_mapped, stats.free, stats.holes, space.reclaim()) == (3 * PAGE, 0, 0, 0)
    assert [(s.base, s.arena) for s in space.segments()] == [(b, b)]
    space.check()


def test_bad_input_changes_nothing() -> None:
    """Each kind of bad input has its own error and changes nothing."""
    kernel, space = make()
    a, b = space.alloc(PAGE), space.alloc(2 * PAGE)
    space.free(a)
    before = space.stats(), kernel.counters()
    for address, fault in (
        (a, FreeFault.FREED_TWICE),
        (b + 1, FreeFault.INSIDE_BUFFER),
        (7 * PAGE, FreeFault.NEVER_ALLOCATED),
    ):
        with pytest.raises(BadFreeError) as caught:
            space.free(address)
        assert caught.value.fault is fault
    assert space.kva_limit == 8 * PAGE
    for odd in (0.0, None, True):
        with pytest.raises(InvalidRequestError):
            space.free(odd)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            space.alloc(odd)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        PerPipeSpace(kernel, kva_limit=0)
    assert (space.stats(), kernel.counters()) == before


def test_refusals_say_whether_limit_or_source_forbids() -> None:
    """A refusal says whether the limit or the source forbids, and what would succeed."""
    _, limited = make(limit=2)
    limited.alloc(PAGE)
    with pytest.raises(KvaLimitError) as over:
        limited.alloc(2 * PAGE)
    assert over.value.explain().remedies == (Remedy(Change.SIZE, PAGE), Remedy(Change.KVA_LIMIT, 3 * PAGE))
    assert limited.available() == PAGE
    kernel, space = make(limit=100)
    buffers = [space.alloc(2 * PAGE) for _ in range(4)]
    space.free(buffers[0])
    space.free(buffers[2])
    with pytest.raises(NoSpaceError) as full:
        space.alloc(3 * PAGE)
    assert full.value.explain().remedies == (Remedy(Change.SIZE, 2 * PAGE),)
    assert space.stats().refusals == 1
    assert kernel.counters().map_failures == 1


def test_resize_always_moves() -> None:
    """A resize to another number of pages moves the buffer, and a refused one leaves it as it was."""
    _, space = make()
    a = space.alloc(2 * PAGE)
    assert space.resize(a, 2 * PAGE - 1) == a
    b = space.resize(a, PAGE)
    assert (b, space.stats().resizes_moved) == (2 * PAGE, 1)
    with pytest.raises(NoSpaceError):
        space.resize(b, 7 * PAGE)
    assert space.size_of(b) == PAGE
    assert space.contract.resize is Resize.MOVING
    assert space.quantum == space.granule == PAGE


def test_pages_of_a_buffer_are_the_sources() -> None:
    """touch, discard and maps are passed on to the source."""
    kernel, space = make()
    space.alloc(PAGE)
    space.touch(0, PAGE)
    space.discard(0, PAGE)
    assert kernel.counters().pages_freed == 1
    assert space.maps(0, PAGE)


def test_render_draws_the_range_in_rows_of_4_mib() -> None:
    """The picture has a row for each 4 MiB that holds a buffer, with gaps as free."""
    kernel = KernelMap(base=0, size=16 << 20)
    space = PerPipeSpace(kernel, kva_limit=16 << 20)
    assert space.render() == "no arena is mapped"
    a, b, c = space.alloc(3 << 20), space.alloc(2 << 20), space.alloc(7 << 20)
    assert space.render(4).splitlines() == [
        "0x0     4 MiB |####| 100% busy", "0x400000     4 MiB |####| 100% busy", "0x800000     4 MiB |####| 100% busy",
    ]  # fmt: skip
    space.free(a)
    space.free(c)
    assert space.render(4).splitlines() == ["0x0     4 MiB |...#|  25% busy", "0x400000     4 MiB |#...|  25% busy"]
    del b
