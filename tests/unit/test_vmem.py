"""vmem beyond its numbered behaviours: input, arenas, figures."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    BadFreeError,
    Coalescing,
    Extent,
    Fit,
    FreeFault,
    InvalidRequestError,
    KernelMap,
    KvaLimitError,
    VmemSpace,
)

PAGE = 4096


def make(pages: int = 16, **keywords: Any) -> VmemSpace:
    """A space over a map of so many pages, which imports four at a time."""
    arguments = {"kva_limit": pages * PAGE, "import_quantum": 4 * PAGE} | keywords
    return VmemSpace(KernelMap(base=0, size=pages * PAGE), **arguments)


def test_imports_are_rounded_and_given_back() -> None:
    """Five pages are an import of eight; where the limit leaves less, of what it leaves."""
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
    """Nothing stays mapped; what was cached is drained on the way."""
    space = make(16, qcache_max=PAGE)
    space.free(space.alloc(PAGE))
    with pytest.raises(MemoryError):
        space.xalloc(2 * PAGE, lo=1 << 40)
    assert (space.stats().mapped, space.stats().cached) == (0, 0)
    assert space.xalloc(2 * PAGE, align=8 * PAGE, phase=2 * PAGE) % (8 * PAGE) == 2 * PAGE
    space.check()


def test_a_resize_moves() -> None:
    """It allocates before it frees."""
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
    """And change nothing."""
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
    """When the space is made."""
    with pytest.raises(InvalidRequestError) as caught:
        make(**{name: value})
    assert caught.value.what == name


def test_the_contract_says_how_it_is_configured() -> None:
    """Strategy and caches."""
    assert make().contract.coalescing is Coalescing.IMMEDIATE
    cached = make(qcache_max=PAGE, strategy=Fit.CLASS_BEST, quantum=1024).contract
    assert (cached.coalescing, cached.fit) == (Coalescing.DEFERRED, Fit.CLASS_BEST)
    assert (make(quantum=1024).quantum, make().kva_limit) == (1024, 16 * PAGE)


def test_static_spans_count_against_the_limit() -> None:
    """They leave less to import."""
    space = make(8)
    space.add(Extent(1 << 30, 6 * PAGE))
    space.alloc(6 * PAGE)
    assert space.alloc(2 * PAGE) == 0
    with pytest.raises(KvaLimitError):
        space.alloc(PAGE)
    assert space.stats().peak_mapped == 8 * PAGE
