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
    KvaLimitError,
    PerPipeSpace,
    SpanOverlapError,
    VmemSpace,
)

PAGE = 4096


def make(pages: int = 16, **keywords: Any) -> VmemSpace:
    """Make a space over a map of so many pages, which imports four at a time."""
    arguments = {"kva_limit": pages * PAGE, "import_quantum": 4 * PAGE} | keywords
    return VmemSpace(KernelMap(base=0, size=pages * PAGE), **arguments)


def test_imports_are_rounded_and_given_back() -> None:
    """An import is rounded up, or down to what the limit leaves, and released when it is free."""
    space = make(10)
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
    """An import that does not admit the request is released, and the cache is drained on the way."""
    space = make(16, qcache_max=PAGE)
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
    space = make(16, kva_limit=16384, quantum=512)
    space.add(Extent(1 << 30, 512))
    assert space.available() == 3 * PAGE
    held = [space.alloc(3 * PAGE), space.alloc(512)]
    with pytest.raises(KvaLimitError):
        space.alloc(512)
    for base in held:
        space.free(base)
    space.check()
    exact = make(16, kva_limit=4608, quantum=512)
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
    space = VmemSpace(kernel, kva_limit=64 * PAGE, import_quantum=PAGE)
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
    space = make(8)
    space.add(Extent(1 << 30, 6 * PAGE))
    space.alloc(6 * PAGE)
    assert space.alloc(2 * PAGE) == 0
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    assert space.stats().peak_mapped == 8 * PAGE
