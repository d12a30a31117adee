"""FreeBSD's vmem: B32 to B38."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import ExhaustionError, Extent, Fit, InvariantViolation, KernelMap, Kind, NoSpaceError, SpanOverlapError
from coalloc.space.holes import size_class
from coalloc.space.vmem import VmemSpace

PAGE = 4096


def make(pages: int = 400, *, strategy: Fit = Fit.INSTANT, qcache: int = 0, quantum: int = PAGE) -> VmemSpace:
    """Make a space that imports one span of so many pages when it is first asked."""
    return VmemSpace(
        KernelMap(base=0, size=pages * PAGE),
        kva_limit=pages * PAGE,
        import_quantum=pages * PAGE,
        strategy=strategy,
        qcache_max=qcache,
        quantum=quantum,
    )


def holes_of(space: VmemSpace, *sizes: int) -> dict[int, int]:
    """Make one hole of each size in pages, apart from one another; return their bases by size."""
    bases = {}
    for size in sizes:
        bases[size] = space.alloc(size * PAGE)
        space.alloc(PAGE)
    rest = max(s.size for s in space.segments() if s.kind is Kind.FREE)
    space.alloc(rest)
    for base in bases.values():
        space.free(base)
    return bases


@pytest.mark.parametrize(
    ("quanta", "index"), [(1, 0), (32, 31), (33, 31), (63, 31), (64, 32), (127, 32), (128, 33), (255, 33)]
)
def test_b32_sizes_map_to_free_lists(quanta: int, index: int) -> None:
    """There is one free list for each size up to 32 quanta, then one for each power of two."""
    assert size_class(quanta) == index
    static = VmemSpace(KernelMap(base=0, size=PAGE), kva_limit=512 * PAGE)
    static.add(Extent(1 << 30, quanta * PAGE))
    assert list(static._lists) == [index]


def test_b33_instant_fit_looks_at_the_head_of_each_list_whose_members_all_fit_then_falls_back() -> None:
    """Instant fit takes a hole of a higher class first, and one of its own class only when no higher class has any."""
    space = make()
    bases = holes_of(space, 40, 70)
    before = space.stats().holes_visited
    assert space.alloc(33 * PAGE) == bases[70]
    assert space.stats().holes_visited == before + 1
    space.alloc(37 * PAGE)  # what is left of the 70
    assert space.alloc(33 * PAGE) == bases[40]


def test_b33_best_fit_scans_the_class_and_takes_the_newest_that_fits() -> None:
    """Within a class, vmem's best fit takes the newest hole that fits, even if a smaller one would do."""
    for sizes in ((60, 50), (50, 60)):
        space = make(strategy=Fit.CLASS_BEST)
        bases = holes_of(space, *sizes)
        assert space.alloc(40 * PAGE) == bases[sizes[-1]]


def test_b34_frees_join_both_neighbours_never_across_spans() -> None:
    """A free coalesces with both neighbours, but two static spans that touch stay apart."""
    space = VmemSpace(KernelMap(base=0, size=PAGE), kva_limit=64 * PAGE, import_quantum=PAGE)
    space.add(Extent(1 << 30, 8 * PAGE))
    space.add(Extent((1 << 30) + 8 * PAGE, 8 * PAGE))
    bases = [space.alloc(2 * PAGE) for _ in range(8)]
    for base in bases:
        space.free(base)
    assert [(s.size, s.kind) for s in space.segments()] == [(8 * PAGE, Kind.FREE)] * 2
    with pytest.raises(NoSpaceError):
        space.xalloc(12 * PAGE, lo=1 << 30)
    space.check()


def test_b34_an_imported_span_is_released_when_wholly_free_a_static_one_stays() -> None:
    """A wholly free import is unmapped, and a static span stays."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    space = VmemSpace(kernel, kva_limit=64 * PAGE, import_quantum=8 * PAGE)
    space.add(Extent(1 << 30, 4 * PAGE))
    inside, outside = space.alloc(4 * PAGE), space.alloc(5 * PAGE)
    assert (inside, kernel.counters().mapped) == (1 << 30, 8 * PAGE)
    space.free(outside)
    assert kernel.counters().mapped == 0
    space.free(inside)
    assert [(s.base, s.size) for s in space.segments()] == [(1 << 30, 4 * PAGE)]
    assert space.reclaim() == 0
    assert (space.stats().mapped, space.stats().arenas) == (4 * PAGE, 1)


@pytest.mark.parametrize(
    ("bounds", "base"),
    [
        ({"align": 8 * PAGE}, 8 * PAGE),
        ({"align": 8 * PAGE, "phase": 2 * PAGE}, 2 * PAGE),
        ({"nocross": 4 * PAGE}, 4 * PAGE),
        ({"lo": 9 * PAGE}, 9 * PAGE),
        ({"lo": 9 * PAGE, "hi": 12 * PAGE - 1}, 9 * PAGE),
    ],
)
def test_b35_constraints_are_honoured(bounds: dict[str, int], base: int) -> None:
    """A constrained request gets the lowest place in the hole that meets its constraints."""
    space = make(32)
    space.alloc(2 * PAGE)
    assert space.xalloc(3 * PAGE, **bounds) == base
    space.check()


@pytest.mark.parametrize(
    "bounds", [{"lo": 30 * PAGE, "hi": 32 * PAGE - 1}, {"align": 1 << 30, "lo": 1}, {"lo": 1 << 40}]
)
def test_b35_an_impossible_request_changes_nothing(bounds: dict[str, int]) -> None:
    """An impossible request raises MemoryError and changes only the count of refusals."""
    space = make(32)
    space.alloc(PAGE)
    before, figures = space.segments(), space.stats()
    with pytest.raises(MemoryError):
        space.xalloc(3 * PAGE, **bounds)
    after = space.stats()
    assert space.segments() == before
    for name in ("mapped", "live", "free", "allocs", "frees"):
        assert getattr(after, name) == getattr(figures, name)
    assert after.refusals == figures.refusals + 1


def test_b36_what_a_quantum_cache_keeps_is_not_joined_until_it_is_drained() -> None:
    """A cached buffer is reused newest first, and exhaustion drains the cache and coalesces what it held."""
    space = make(8, qcache=2 * PAGE)
    small = [space.alloc(PAGE + 1) for _ in range(4)]
    assert [space.size_of(base) for base in small] == [2 * PAGE] * 4
    for base in small:
        space.free(base)
    assert {s.kind for s in space.segments()} == {Kind.CACHED}
    assert space.alloc(2 * PAGE) == small[-1]
    space.free(small[-1])
    assert (space.stats().cache_hits, space.stats().cached, space.stats().drained) == (1, 8 * PAGE, 0)
    space.free(kept := space.alloc(PAGE + 1))
    assert kept == small[-1]
    held = space.alloc(2 * PAGE)
    most = space.alloc(6 * PAGE)
    assert (held, most, space.stats().drained, space.stats().cached) == (small[-1], 0, 3, 0)
    space.free(most)
    space.free(held)
    assert space.stats().cached == 2 * PAGE


def test_b36_a_cache_is_bounded_and_reclaim_drains_it() -> None:
    """The cache keeps at most 128 buffers of one size, and reclaim gives all of them back."""
    space = make(300, qcache=PAGE)
    bases = [space.alloc(PAGE) for _ in range(200)]
    for base in bases:
        space.free(base)
    assert space.stats().cached == 128 * PAGE
    assert space.reclaim() == 300 * PAGE
    assert space.segments() == ()


def test_b37_the_check_sees_what_vmem_check_sees_and_more() -> None:
    """The check passes on a sound space, and reports I1 when a segment's size is corrupted."""
    space = make(64)
    bases = [space.alloc(n * PAGE) for n in (3, 2, 5, 1)]
    space.free(bases[1])
    assert sum(s.size for s in space.segments() if s.kind is Kind.BUSY) == space.stats().live == 9 * PAGE
    space.check()
    space._busy[bases[0]].size += PAGE
    with pytest.raises(InvariantViolation) as caught:
        space.check()
    assert "I1" in caught.value.codes


def test_b38_the_largest_free_size_is_the_floor_of_its_class() -> None:
    """The largest free size is told as the lower bound of its class, also in a refusal."""
    space = make(100)
    assert space.stats().largest_hole == 0
    space.alloc(PAGE)
    assert space.stats().largest_hole == 64 * PAGE
    space.alloc(67 * PAGE)
    assert space.stats().largest_hole == 32 * PAGE
    with pytest.raises(MemoryError) as caught:
        space.alloc(40 * PAGE)
    error: Any = caught.value
    assert (error.largest_hole, error.free) == (32 * PAGE, 32 * PAGE)
    assert not space.contract.exact_stats


def test_spans_may_not_overlap_nor_exceed_the_limit() -> None:
    """A span that overlaps another, exceeds the limit or is malformed is refused and not added."""
    space = make(16)
    space.add(Extent(1 << 30, 4 * PAGE))
    with pytest.raises(SpanOverlapError):
        space.add(Extent((1 << 30) + PAGE, PAGE))
    for span in (Extent(1 << 31, 13 * PAGE), Extent(1, PAGE), Extent(0, 5), (0, PAGE)):
        with pytest.raises(ValueError, match="span"):
            space.add(span)  # type: ignore[arg-type]
    assert len(space.segments()) == 1


def test_b63_an_import_is_sized_as_the_kernel_sizes_it_and_stays() -> None:
    """Twice an alignment is added; what does not admit the request stays, and another is tried, up to the limit."""
    kernel = KernelMap(base=0, size=1 << 30)
    space = VmemSpace(kernel, kva_limit=64 * PAGE, import_quantum=8 * PAGE)
    space.xalloc(PAGE, align=8 * PAGE)
    assert kernel.counters().mapped == 24 * PAGE  # 1 + 16 pages, rounded up
    with pytest.raises(MemoryError):
        space.xalloc(PAGE, lo=1 << 29)
    assert kernel.counters().mapped == 64 * PAGE
    assert [segment.kind for segment in space.segments()].count(Kind.FREE) == 6
    assert space.alloc(PAGE) == 56 * PAGE  # of the newest
    assert space.reclaim() == 32 * PAGE
    space.check()


def test_b64_a_drain_helps_only_if_more_is_free_than_before() -> None:
    """A drain that releases a span with more free bytes than were cached is followed by a refusal, or by a second try."""
    for qcache, served in ((PAGE, False), (2 * PAGE, True)):
        space = VmemSpace(KernelMap(base=0), kva_limit=4 * PAGE, import_quantum=2 * PAGE, qcache_max=qcache)
        space.alloc(PAGE)
        space.alloc(PAGE)
        space.free(space.alloc(PAGE))
        if served:
            assert space.alloc(2 * PAGE) == 2 * PAGE
        else:
            with pytest.raises(MemoryError):
                space.alloc(2 * PAGE)
        assert space.stats().drained == 1


def test_b65_next_fit_goes_on_from_its_cursor() -> None:
    """What was freed behind the cursor is used last, and a span that the cursor divides stays until the next request."""
    space = make(8, strategy=Fit.NEXT)
    first, second = space.alloc(2 * PAGE), space.alloc(2 * PAGE)
    space.free(first)
    assert space.alloc(2 * PAGE) == 4 * PAGE
    space.free(second)
    space.free(4 * PAGE)
    assert space.stats().arenas == 1
    assert space.alloc(8 * PAGE) == 0


def test_b66_the_limit_bounds_imports_and_others_are_asked_to_spare() -> None:
    """A limit below what is mapped takes nothing away; the callback frees, and the request is served."""
    space = make(8)
    base = space.alloc(8 * PAGE)
    space.set_limit(4 * PAGE)
    space.check()
    space.set_reclaim(lambda: space.free(base))
    with pytest.raises(MemoryError):
        space.alloc(PAGE)  # the span is released, and another is more than the limit
    assert space.stats().mapped == 0


def test_b64_instant_fit_is_not_tried_again_after_a_drain() -> None:
    """After a drain the kernel goes on with M_BESTFIT, so that an older segment of the request's own class is found."""
    space = VmemSpace(KernelMap(), kva_limit=145 * PAGE, import_quantum=0, qcache_max=16 * PAGE)
    space.add(Extent(PAGE, 145 * PAGE))
    first = [space.alloc(16 * PAGE) for _ in range(3)]
    space.alloc(17 * PAGE)
    for base in first + [space.alloc(16 * PAGE) for _ in range(5)]:
        space.free(base)
    assert space.alloc(40 * PAGE) == PAGE
    space.check()


def test_b65_what_is_coalesced_at_the_cursor_stays_on_its_list() -> None:
    """So the largest free size that is told may be that of a lower class."""
    space = VmemSpace(KernelMap(), kva_limit=64 * PAGE, import_quantum=0, strategy=Fit.NEXT)
    space.add(Extent(PAGE, 64 * PAGE))
    space.alloc(20 * PAGE)
    space.free(space.alloc(20 * PAGE))
    with pytest.raises(ExhaustionError):
        space.alloc(50 * PAGE)
    assert (space.stats().free, space.stats().largest_hole) == (44 * PAGE, 20 * PAGE)
    space.check()
    assert space.alloc(44 * PAGE) == 21 * PAGE
