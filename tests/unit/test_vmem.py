"""vmem beyond its numbered behaviours: input, arenas, figures."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from coalloc import (
    EAGER,
    BadFreeError,
    BuddySpace,
    CachedSpace,
    Coalescing,
    Extent,
    Fit,
    FreeFault,
    InvalidRequestError,
    KernelMap,
    Kind,
    KvaLimitError,
    NoSpaceError,
    PerPipeSpace,
    SpanOverlapError,
    VmemSpace,
)
from coalloc.space.vmem import Imports

PAGE = 4096
SURE = Imports.SURE


def make(pages: int = 16, **keywords: Any) -> VmemSpace:
    """Make a space over a map of so many pages, which imports four at a time."""
    arguments = {"kva_limit": pages * PAGE, "import_quantum": 4 * PAGE} | keywords
    return VmemSpace(KernelMap(base=0, size=pages * PAGE), **arguments)


def test_imports_are_rounded_and_given_back() -> None:
    """A sure import is rounded up, or down to what the limit leaves, and released when it is free."""
    space = make(10, imports=SURE)
    a = space.alloc(5 * PAGE)
    assert (space.stats().mapped, space.stats().arenas, space.available()) == (8 * PAGE, 1, 3 * PAGE)
    b, c = space.alloc(3 * PAGE), space.alloc(2 * PAGE)
    assert space.stats().mapped == 10 * PAGE
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    for base in (a, c, b):
        space.free(base)
    assert (space.stats().mapped, space.stats().imports, space.stats().releases) == (0, 2, 2)
    space.check()


def test_an_import_that_does_not_admit_a_constrained_request_is_given_back() -> None:
    """A sure import that does not admit the request is released, and the cache is drained on the way."""
    space = make(16, qcache_max=PAGE, imports=SURE)
    space.free(space.alloc(PAGE))
    with pytest.raises(MemoryError):
        space.xalloc(2 * PAGE, lo=1 << 40)
    assert (space.stats().mapped, space.stats().cached) == (0, 0)
    assert space.xalloc(2 * PAGE, align=8 * PAGE, phase=2 * PAGE) % (8 * PAGE) == 2 * PAGE
    space.check()


def test_a_resize_moves() -> None:
    """A resize to another size allocates before it frees, so the buffer moves."""
    space = make()
    base = space.alloc(PAGE)
    assert space.resize(base, 1) == base
    moved = space.resize(base, 3 * PAGE)
    assert (moved, space.size_of(moved), space.stats().resizes_moved) == (PAGE, 3 * PAGE, 1)
    space.touch(moved, PAGE)
    space.discard(moved, PAGE)
    assert "|.###|" in space.render(4)


@pytest.mark.parametrize(
    ("address", "fault"),
    [(0, FreeFault.FREED_TWICE), (PAGE + 1, FreeFault.INSIDE_BUFFER), (9 * PAGE, FreeFault.NEVER_ALLOCATED)],
)
def test_bad_frees_are_told_apart(address: int, fault: FreeFault) -> None:
    """The error says what is wrong with an address that cannot be freed, and nothing changes."""
    space = make()
    first = space.alloc(PAGE)
    space.alloc(2 * PAGE)
    space.free(first)
    before = space.segments()
    with pytest.raises(BadFreeError) as caught:
        space.free(address)
    assert caught.value.fault is fault
    with pytest.raises(InvalidRequestError):
        space.free(None)  # type: ignore[arg-type]
    assert space.segments() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantum", 3), ("quantum", 8192), ("import_quantum", 5000), ("strategy", Fit.BEST), ("qcache_max", 17 * PAGE),
        ("qcache_max", 5), ("qcache_max", -PAGE), ("kva_limit", 0),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_by_name(name: str, value: Any) -> None:
    """A bad argument of the constructor is refused by its name."""
    with pytest.raises(InvalidRequestError) as caught:
        make(**{name: value})
    assert caught.value.what == name


def test_the_contract_says_how_it_is_configured() -> None:
    """The contract states the strategy, and a cache makes coalescing deferred."""
    assert make().contract.coalescing is Coalescing.IMMEDIATE
    cached = make(qcache_max=PAGE, strategy=Fit.CLASS_BEST, quantum=1024).contract
    assert (cached.coalescing, cached.fit) == (Coalescing.DEFERRED, Fit.CLASS_BEST)
    assert (make(quantum=1024).quantum, make().kva_limit) == (1024, 16 * PAGE)


def test_a_static_span_that_is_no_multiple_of_the_granule_leaves_whole_granules_to_import() -> None:
    """Beside a small static span only whole granules are imported, and the limit can be reached."""
    space = make(16, kva_limit=16384, quantum=512, imports=SURE)
    space.add(Extent(1 << 30, 512))
    assert space.available() == 3 * PAGE
    held = [space.alloc(3 * PAGE), space.alloc(512)]
    with pytest.raises(KvaLimitError):
        space.alloc(512)
    for base in held:
        space.free(base)
    space.check()
    exact = make(16, kva_limit=4608, quantum=512, imports=SURE)
    exact.add(Extent(1 << 30, 512))
    assert exact.alloc(512) == 1 << 30
    assert exact.alloc(PAGE) == 0


def test_an_import_may_not_overlap_a_static_span() -> None:
    """An import that overlaps a static span causes SpanOverlapError and leaves nothing behind."""
    space = make()
    space.add(Extent(0, 2 * PAGE))
    space.alloc(PAGE)
    with pytest.raises(SpanOverlapError):
        space.alloc(4 * PAGE)
    space.check()
    space.touch(0, PAGE)
    space.discard(0, PAGE)


def test_a_constrained_import_is_sure_to_admit_its_request() -> None:
    """An import for a request with nocross is large enough to admit it."""
    kernel = KernelMap(base=PAGE, size=64 * PAGE)
    space = VmemSpace(kernel, kva_limit=64 * PAGE, import_quantum=PAGE, imports=SURE)
    assert space.xalloc(2 * PAGE, nocross=2 * PAGE) == 2 * PAGE
    space.check()


def test_the_peak_is_what_was_mapped_at_one_time() -> None:
    """The peak does not add a span to an import that was released before."""
    space = make(8)
    space.free(space.alloc(PAGE))
    space.add(Extent(1 << 30, 6 * PAGE))
    assert space.stats().peak_mapped == 6 * PAGE


class Stubborn(KernelMap):
    """A source that refuses to unmap, once."""

    refuses = 1

    def unmap(self, base: int, size: int) -> None:
        self.refuses -= 1
        if self.refuses >= 0:
            raise OSError("not now")
        super().unmap(base, size)


@pytest.mark.parametrize("make_space", [
    lambda kernel: VmemSpace(kernel, kva_limit=1 << 20, import_quantum=4 * PAGE),
    lambda kernel: BuddySpace(kernel, kva_limit=1 << 20, arena_size=4 * PAGE, release=EAGER),
    lambda kernel: CachedSpace(PerPipeSpace(kernel, kva_limit=1 << 20), sizes=[PAGE], depth=0),
])  # fmt: skip
def test_a_source_that_fails_to_unmap_breaks_no_tiling(make_space: Any) -> None:
    """When the source fails to unmap, the segments still tile, and the range can be given back later."""
    space = make_space(Stubborn(base=0, size=1 << 20))
    base = space.alloc(PAGE)
    with pytest.raises(OSError, match="not now"):
        space.free(base)
    assert {violation.code for violation in space.violations()} <= {"I10"}
    with contextlib.suppress(BadFreeError):
        space.free(base)
    if not isinstance(space, VmemSpace):
        space.reclaim()
        space.check()
        assert space.stats().mapped == 0


def test_a_drain_that_fails_keeps_what_it_could_not_give_back() -> None:
    """After a drain that failed, the cache still agrees with the space below."""
    space = CachedSpace(PerPipeSpace(Stubborn(base=0, size=1 << 20), kva_limit=1 << 20), sizes=[PAGE])
    bases = [space.alloc(PAGE) for _ in range(3)]
    for base in bases:
        space.free(base)
    with pytest.raises(OSError, match="not now"):
        space.reclaim()
    space.check()
    assert space.reclaim() == 3 * PAGE


def test_static_spans_count_against_the_limit() -> None:
    """Static spans count against the limit and leave less to import."""
    space = make(8, import_quantum=2 * PAGE)
    space.add(Extent(1 << 30, 6 * PAGE))
    space.alloc(6 * PAGE)
    assert space.alloc(2 * PAGE) == 0
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    assert space.stats().peak_mapped == 8 * PAGE


def test_nothing_is_imported_with_an_import_quantum_of_0() -> None:
    """Only the spans that were added are used."""
    space = make(import_quantum=0)
    with pytest.raises(MemoryError):
        space.alloc(PAGE)
    space.add(Extent(0, 2 * PAGE))
    space.add(Extent(2 * PAGE, PAGE))
    assert [space.available(), space.alloc(PAGE), space.alloc(2 * PAGE), space.available()] == [
        2 * PAGE,
        2 * PAGE,
        0,
        0,
    ]
    with pytest.raises(NoSpaceError) as caught:
        space.alloc(PAGE)
    assert caught.value.explain().remedies == ()
    assert space.reclaim() == 0


def test_without_an_import_quantum_at_most_the_limit_is_imported() -> None:
    """It is 4 MiB, or what the limit has in whole granules; a limit below a granule imports one, and so never."""
    for limit, mapped in ((1 << 30, 4 << 20), (3 * PAGE + 5, 3 * PAGE)):
        space = VmemSpace(KernelMap(), kva_limit=limit)
        space.alloc(1)
        assert space.stats().mapped == mapped
    with pytest.raises(KvaLimitError):
        VmemSpace(KernelMap(), kva_limit=100).alloc(1)


def test_a_limit_can_be_set_later() -> None:
    """What is above it stays, and nothing is imported until there is room below it."""
    space = make(16)
    first, second = space.alloc(4 * PAGE), space.alloc(4 * PAGE)
    space.set_limit(6 * PAGE)
    assert (space.kva_limit, space.stats().mapped) == (6 * PAGE, 8 * PAGE)
    space.check()
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    space.free(first)
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    space.free(second)
    space.alloc(PAGE)
    space.check()
    with pytest.raises(InvalidRequestError, match="limit=0"):
        space.set_limit(0)


def test_others_are_asked_to_spare_something_before_a_refusal() -> None:
    """The request is tried again if more is free afterwards; with None nobody is asked."""
    space = make(4)
    spare = [space.alloc(PAGE) for _ in range(4)]
    asked = []

    def reclaim() -> None:
        asked.append(len(spare))
        if len(spare) > 2:
            space.free(spare.pop())
            space.free(spare.pop())

    space.set_reclaim(reclaim)
    assert space.alloc(2 * PAGE) == 2 * PAGE
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    assert asked == [4, 2]
    space.set_reclaim(None)
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    assert asked == [4, 2]


def test_only_the_kernels_strategies_and_ways_to_import_are_taken() -> None:
    """Anything else is refused by its name; M_NEXTFIT takes no bounds."""
    for name in ("strategy", "imports"):
        with pytest.raises(InvalidRequestError) as caught:
            make(16, **{name: "first"})
        assert caught.value.what == name
    space = make(strategy=Fit.NEXT)
    with pytest.raises(InvalidRequestError, match="M_NEXTFIT takes none"):
        space.xalloc(PAGE, lo=1)


def test_an_explanation_knows_what_the_kernel_would_import() -> None:
    """The limit that it advises holds an import as the kernel sizes it; for nocross none is sure."""
    space = make(16, kva_limit=6 * PAGE)
    space.alloc(4 * PAGE)
    with pytest.raises(KvaLimitError) as caught:
        space.xalloc(PAGE, align=2 * PAGE)
    assert [(remedy.what.value, remedy.value) for remedy in caught.value.explain().remedies] == [
        ("kva_limit", 12 * PAGE)
    ]
    space.set_limit(12 * PAGE)
    space.xalloc(PAGE, align=2 * PAGE)
    with pytest.raises(KvaLimitError) as other:
        make(16, kva_limit=4 * PAGE).xalloc(5 * PAGE, nocross=8 * PAGE)
    assert "kva_limit" not in [remedy.what.value for remedy in other.value.explain().remedies]


def test_next_fit_goes_round_and_skips_spans_that_came_later_and_lie_lower() -> None:
    """The cursor stands behind what was carved, before the next tag that does not lie lower."""
    space = make(strategy=Fit.NEXT, import_quantum=0)
    space.add(Extent(8 * PAGE, 4 * PAGE))
    space.add(Extent(0, 4 * PAGE))
    space.add(Extent(12 * PAGE, PAGE))
    assert [space.alloc(2 * PAGE) for _ in range(2)] == [8 * PAGE, 10 * PAGE]  # the cursor is behind the span at 0
    assert space.alloc(PAGE) == 12 * PAGE
    space.free(8 * PAGE)
    assert [space.alloc(PAGE) for _ in range(3)] == [8 * PAGE, 9 * PAGE, 0]
    assert [(s.base // PAGE, s.kind is Kind.FREE) for s in space.segments()] == [
        (0, False), (1, True), (8, False), (9, False), (10, False), (12, False)
    ]  # fmt: skip
    space.check()


def test_next_fit_in_a_span_that_the_cursor_divides() -> None:
    """Free segments on both sides of the cursor are shown as one, and coalesced by the next request or by reclaim()."""
    space = make(8, strategy=Fit.NEXT, import_quantum=8 * PAGE)
    space.free(space.alloc(3 * PAGE))  # the span stays, since the cursor divides it
    assert [(s.base, s.size) for s in space.segments()] == [(0, 8 * PAGE)]
    assert (space.stats().holes, space.stats().arenas) == (1, 1)
    assert space.alloc(5 * PAGE) == 3 * PAGE
    assert space.alloc(PAGE) == 0
    space.check()
    for base in (0, 3 * PAGE):
        space.free(base)
    assert space.alloc(8 * PAGE) == 0
    space.free(0)
    space.alloc(PAGE)
    space.free(0)
    assert space.reclaim() == 8 * PAGE
    assert space.segments() == ()
    space.check()


def test_next_fit_releases_what_it_coalesces_at_the_cursor() -> None:
    """An imported span that the coalesced segment fills is released, though the request is served elsewhere."""
    space = make(16, strategy=Fit.NEXT)
    space.add(Extent(1 << 30, 6 * PAGE))
    most, some = space.alloc(5 * PAGE), space.alloc(2 * PAGE)
    assert (most, some) == (1 << 30, 0)
    space.free(some)
    space.free(most)
    assert space.stats().arenas == 2
    assert space.alloc(5 * PAGE) == 1 << 30
    assert space.stats().arenas == 1
    space.check()


def test_a_size_that_is_cached_is_tried_twice() -> None:
    """The first try drains, and releases a span, after which there is less free than before; the second imports."""
    space = make(4, import_quantum=2 * PAGE, qcache_max=2 * PAGE)
    space.alloc(PAGE)
    space.alloc(PAGE)
    space.free(space.alloc(PAGE))
    assert space.alloc(2 * PAGE) == 2 * PAGE
    assert space.stats().drained == 1
    larger = make(4, import_quantum=2 * PAGE, qcache_max=PAGE)
    larger.alloc(PAGE)
    larger.alloc(PAGE)
    larger.free(larger.alloc(PAGE))
    with pytest.raises(MemoryError):
        larger.alloc(2 * PAGE)
    assert larger.alloc(2 * PAGE) == 2 * PAGE
