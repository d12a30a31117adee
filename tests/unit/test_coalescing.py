"""The reference space: what single calls promise, bad input, refusals and their explanations."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    EAGER,
    NEVER,
    RETAIN,
    BadFreeError,
    Coalescing,
    CoalescingSpace,
    Completeness,
    Extent,
    Fit,
    FreeFault,
    InvalidRequestError,
    KernelMap,
    Kind,
    KvaLimitError,
    MiB,
    NoSpaceError,
    Resize,
    SpanOverlapError,
)
from coalloc.errors import Change, Remedy, Rule
from coalloc.space.coalescing import CACHE_DEPTH

PAGE = 4096


def make(pages: int = 16, arena: int = 16, limit: int | None = None, **options: Any) -> CoalescingSpace:
    """A space over a small map at address 0."""
    kernel = KernelMap(base=0, size=pages * PAGE)
    limit = pages if limit is None else limit
    return CoalescingSpace(kernel, kva_limit=limit * PAGE, arena_size=arena * PAGE, **options)


def state(space: CoalescingSpace) -> tuple[Any, ...]:
    """All that a caller can see."""
    return space.segments(), space.stats()


@pytest.mark.parametrize(
    "options",
    [
        {"kva_limit": 0}, {"kva_limit": 1.0}, {"arena_size": 100}, {"arena_size": 0}, {"quantum": 3}, {"quantum": 8192},
        {"quantum": True}, {"quantum_cache": 100}, {"quantum_cache": -4096}, {"quantum_cache": 4096.0}, {"fit": "best"},
        {"release": 1},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(options: dict[str, Any]) -> None:
    """The error names the argument."""
    with pytest.raises(InvalidRequestError) as caught:
        CoalescingSpace(KernelMap(), **({"kva_limit": MiB} | options))
    assert caught.value.what == next(iter(options))


@pytest.mark.parametrize("cache", [0, 4 * PAGE])
@pytest.mark.parametrize("size", [0, -1, -PAGE, 1.5, 4096.0, True, None, "1", 2**63 + 1])
def test_bad_sizes_change_nothing(size: Any, cache: int) -> None:
    """Also where a float or a bool would equal the key of a cached size."""
    space = make(quantum_cache=cache, quantum=1 if cache == 0 else PAGE)
    space.free(space.alloc(PAGE))
    base = space.alloc(2 * PAGE)
    before = state(space)
    for call in (space.alloc, space.xalloc, lambda size: space.resize(base, size)):
        with pytest.raises(InvalidRequestError):
            call(size)
    assert state(space) == before


@pytest.mark.parametrize(
    ("bounds", "what"),
    [
        ({"align": 3}, "align"), ({"align": -PAGE}, "align"), ({"align": 4096.0}, "align"), ({"align": True}, "align"),
        ({"align": PAGE, "phase": PAGE}, "phase"), ({"phase": PAGE}, "phase"), ({"align": 2 * PAGE, "phase": 5}, "phase"),
        ({"nocross": PAGE}, "nocross"), ({"nocross": 3 * PAGE}, "nocross"), ({"lo": 2, "hi": 1}, "lo"), ({"lo": -1}, "lo"),
        ({"hi": 2**64}, "hi"),
    ],
)  # fmt: skip
def test_bad_constraints_change_nothing(bounds: dict[str, Any], what: str) -> None:
    """Each is refused by its own name."""
    space = make()
    space.alloc(PAGE)
    before = state(space)
    with pytest.raises(InvalidRequestError) as caught:
        space.xalloc(2 * PAGE, **bounds)
    assert caught.value.what == what
    assert state(space) == before


def test_bad_frees_are_told_apart_and_change_nothing() -> None:
    """Never handed out, freed twice, inside a buffer, and not an address at all."""
    space = make()
    a, b = space.alloc(2 * PAGE), space.alloc(PAGE)
    space.free(b)
    before = state(space)
    faults: list[tuple[Any, FreeFault, Any]] = [
        (b, FreeFault.FREED_TWICE, None),
        (a + 1, FreeFault.INSIDE_BUFFER, (a, 2 * PAGE)),
        (a + PAGE, FreeFault.INSIDE_BUFFER, (a, 2 * PAGE)),
        (8 * PAGE, FreeFault.NEVER_ALLOCATED, None),
        (-PAGE, FreeFault.NEVER_ALLOCATED, None),
    ]
    for address, fault, inside in faults:
        for call in (space.free, space.size_of, lambda base: space.resize(base, PAGE)):
            with pytest.raises(BadFreeError) as caught:
                call(address)
            assert (caught.value.fault, caught.value.inside) == (fault, inside)
    for odd in (0.0, True, None, "0"):
        with pytest.raises(InvalidRequestError):
            space.free(odd)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            space.size_of(odd)  # type: ignore[arg-type]
    assert state(space) == before


def test_a_cached_buffer_freed_again_is_freed_twice() -> None:
    """It is nobody's while it is on the stack."""
    space = make(quantum_cache=PAGE)
    base = space.alloc(PAGE)
    space.free(base)
    with pytest.raises(BadFreeError) as caught:
        space.free(base)
    assert caught.value.fault is FreeFault.FREED_TWICE


def test_address_zero_is_an_address() -> None:
    """It is handed out, found, resized, cached and freed like any other."""
    space = make(quantum_cache=2 * PAGE)
    base = space.alloc(PAGE)
    assert base == 0
    assert space.size_of(base) == PAGE
    assert space.resize(base, 2 * PAGE) == 0
    space.free(0)
    assert space.alloc(2 * PAGE) == 0
    space.free(0)
    space.reclaim()
    assert space.xalloc(PAGE, hi=PAGE - 1, align=PAGE) == 0
    space.check()


def test_the_contract_is_what_was_configured() -> None:
    """A cache defers coalescing."""
    contract = make(fit=Fit.NEXT, release=NEVER).contract
    assert (contract.fit, contract.release, contract.coalescing) == (Fit.NEXT, NEVER, Coalescing.IMMEDIATE)
    assert (contract.completeness, contract.resize, len(contract.constraints)) == (
        Completeness.EXACT,
        Resize.IN_PLACE,
        5,
    )
    assert make(quantum_cache=PAGE).contract.coalescing is Coalescing.DEFERRED


def test_the_last_arena_may_be_shorter_and_a_large_request_gets_its_own() -> None:
    """What is imported never exceeds the limit."""
    space = make(pages=64, arena=4, limit=15)
    assert space.kva_limit == 15 * PAGE
    large = space.alloc(6 * PAGE)
    small = [space.alloc(PAGE) for _ in range(9)]
    assert sorted({s.arena for s in space.segments()}) == [0, 6 * PAGE, 10 * PAGE, 14 * PAGE]
    with pytest.raises(KvaLimitError) as caught:
        space.alloc(PAGE)
    assert caught.value.explain().remedies == (Remedy(Change.KVA_LIMIT, 16 * PAGE),)
    for base in [large, *small]:
        space.free(base)
    space.reclaim()
    assert space.stats().mapped == 0


def test_a_limit_that_is_no_multiple_of_a_page_is_not_used_in_full() -> None:
    """Arenas are whole pages."""
    space = CoalescingSpace(KernelMap(), kva_limit=2 * PAGE + 100, arena_size=4 * PAGE)
    assert space.available() == 2 * PAGE
    space.alloc(PAGE)
    assert space.stats().mapped == 2 * PAGE
    with pytest.raises(KvaLimitError):
        space.alloc(2 * PAGE)


def test_where_the_source_has_no_room_for_an_arena_the_bare_request_is_tried() -> None:
    """So a small map is used to its last page."""
    space = make(pages=7, arena=4, limit=100)
    buffers = [space.alloc(PAGE) for _ in range(7)]
    assert sorted(buffers) == [n * PAGE for n in range(7)]
    with pytest.raises(NoSpaceError) as caught:
        space.alloc(PAGE)
    assert "the source offers 0" in caught.value.explain().import_verdict
    assert space.stats().refusals == 1


def test_a_failing_alloc_drains_and_releases_before_it_refuses() -> None:
    """Cached buffers become a hole, and a kept arena becomes headroom."""
    space = make(pages=8, arena=4, limit=8, quantum_cache=PAGE)
    buffers = [space.alloc(PAGE) for _ in range(8)]
    for base in buffers:
        space.free(base)
    assert (space.stats().cached, space.stats().largest_hole) == (8 * PAGE, 0)
    assert space.alloc(3 * PAGE) in (0, 4 * PAGE)
    assert space.stats().cached == 0
    space.check()
    other = make(pages=8, arena=4, limit=8)
    other.free(other.alloc(PAGE))
    assert other.stats().arenas == 1
    assert other.alloc(8 * PAGE) == 0
    assert other.stats().releases == 1


def test_a_cache_keeps_a_bounded_number_of_each_size() -> None:
    """What comes beyond is coalesced."""
    space = CoalescingSpace(KernelMap(), kva_limit=64 * MiB, quantum_cache=2 * PAGE)
    buffers = [space.alloc(PAGE) for _ in range(CACHE_DEPTH + 10)]
    other = space.alloc(2 * PAGE)
    for base in [*buffers, other]:
        space.free(base)
    stats = space.stats()
    assert stats.cached == (CACHE_DEPTH + 2) * PAGE
    assert space.alloc(5000) == other
    assert space.alloc(100) == buffers[CACHE_DEPTH - 1]
    assert space.stats().cache_hits == 2
    space.reclaim()
    assert space.stats().drained == CACHE_DEPTH - 1
    space.check()


@pytest.mark.parametrize(("release", "kept"), [(EAGER, 0), (RETAIN(1), 1), (RETAIN(2), 2), (NEVER, 4)])
def test_the_release_rule_keeps_its_number_of_free_arenas(release: Any, kept: int) -> None:
    """And reclaim gives back all of them."""
    space = make(pages=16, arena=4, release=release)
    buffers = [space.alloc(4 * PAGE) for _ in range(4)]
    for base in buffers:
        space.free(base)
    assert space.stats().arenas == kept
    space.check()
    assert space.reclaim() == 4 * kept * PAGE
    assert space.stats().arenas == 0


def test_resize_grows_into_the_hole_behind_shrinks_in_place_and_moves_otherwise() -> None:
    """The figures say which."""
    space = make(pages=16, arena=16)
    a, b = space.alloc(2 * PAGE), space.alloc(2 * PAGE)
    assert space.resize(b, 5 * PAGE) == b
    assert space.resize(b, PAGE) == b
    assert space.resize(b, PAGE) == b
    moved = space.resize(a, 3 * PAGE)
    assert moved != a
    stats = space.stats()
    assert (stats.resizes_in_place, stats.resizes_moved) == (2, 1)
    with pytest.raises(KvaLimitError):
        space.resize(moved, 100 * PAGE)
    assert space.size_of(moved) == 3 * PAGE
    space.check()


def test_a_resize_grows_into_what_a_failing_alloc_has_drained() -> None:
    """The space behind was in the cache; no other place exists."""
    space = make(pages=2, arena=2, limit=2, quantum_cache=PAGE)
    first, second = space.alloc(PAGE), space.alloc(PAGE)
    space.free(second)
    assert space.resize(first, 2 * PAGE) == first
    assert (space.stats().refusals, space.stats().resizes_in_place) == (0, 1)


def test_draining_is_tried_before_arenas_are_released() -> None:
    """An arena that the drained buffers leave free serves the request; it is not released and imported again."""
    kernel = KernelMap(base=0)
    space = CoalescingSpace(kernel, kva_limit=4 * PAGE, arena_size=4 * PAGE, quantum_cache=PAGE)
    for base in [space.alloc(PAGE) for _ in range(4)]:
        space.free(base)
    space.alloc(2 * PAGE)
    assert (kernel.counters().map_ops, kernel.counters().unmap_ops) == (1, 0)


def test_after_draining_the_release_rule_holds_again() -> None:
    """Of the arenas that draining left wholly free, those beyond the rule are released."""
    space = CoalescingSpace(
        KernelMap(base=0), kva_limit=12 * PAGE, arena_size=4 * PAGE, quantum_cache=2 * PAGE, release=RETAIN(1)
    )
    for base in [space.alloc(2 * PAGE) for _ in range(6)]:
        space.free(base)
    space.alloc(3 * PAGE)
    assert space.stats().arenas == 2
    space.check()


def test_resize_does_not_grow_across_an_arena_boundary() -> None:
    """The hole behind belongs to another arena."""
    space = make(pages=8, arena=4)
    a = space.alloc(4 * PAGE)
    b = space.alloc(4 * PAGE)
    space.free(b)
    with pytest.raises(KvaLimitError):
        space.resize(a, 5 * PAGE)
    assert space.size_of(a) == 4 * PAGE


def test_reserve_takes_exactly_what_it_is_given() -> None:
    """Holes stay on both sides; what overlaps a buffer, or lies nowhere, is refused with what is in the way."""
    space = make(pages=8, arena=8, quantum_cache=PAGE)
    first = space.alloc(PAGE)
    space.reserve(Extent(4 * PAGE, 2 * PAGE))
    assert [(s.base // PAGE, s.kind) for s in space.segments()] == [
        (0, Kind.BUSY), (1, Kind.FREE), (4, Kind.BUSY), (6, Kind.FREE),
    ]  # fmt: skip
    before = state(space)
    with pytest.raises(SpanOverlapError) as caught:
        space.reserve(Extent(5 * PAGE, 2 * PAGE))
    assert caught.value.existing == (4 * PAGE, 2 * PAGE)
    with pytest.raises(SpanOverlapError) as caught:
        space.reserve(Extent(100 * PAGE, PAGE))
    assert caught.value.existing is None
    with pytest.raises(InvalidRequestError):
        space.reserve(Extent(5, PAGE))
    assert state(space) == before
    space.free(first)
    with pytest.raises(SpanOverlapError, match="cached"):
        space.reserve(Extent(first, PAGE))
    space.free(4 * PAGE)
    space.check()


def test_every_hole_is_told_the_rule_that_killed_it() -> None:
    """Size, low bound, high bound, alignment and boundary, each on a hole of its own."""
    space = make(pages=32, arena=32)
    for page in (1, 4, 9, 14, 19, 24):
        space.reserve(Extent(page * PAGE, PAGE)) if space.stats().mapped else space.xalloc(PAGE, lo=page * PAGE)
    space.reserve(Extent(25 * PAGE, 7 * PAGE))
    holes = [(s.base // PAGE, s.size // PAGE) for s in space.segments() if s.kind is Kind.FREE]
    assert holes == [(0, 1), (2, 2), (5, 4), (10, 4), (15, 4), (20, 4)]
    with pytest.raises(KvaLimitError) as caught:
        space.xalloc(3 * PAGE, align=8 * PAGE, lo=6 * PAGE, hi=15 * PAGE)
    rules = [verdict.rule for verdict in caught.value.explain().verdicts]
    assert rules == [Rule.SIZE, Rule.SIZE, Rule.ALIGN, Rule.ALIGN, Rule.HI, Rule.HI]
    with pytest.raises(KvaLimitError) as caught2:
        space.xalloc(4 * PAGE, nocross=4 * PAGE, lo=6 * PAGE, hi=22 * PAGE)
    by_page = {verdict.base // PAGE: verdict.rule for verdict in caught2.value.explain().verdicts}
    assert by_page == {0: Rule.SIZE, 2: Rule.SIZE, 5: Rule.LO, 10: Rule.NOCROSS, 15: Rule.NOCROSS, 20: Rule.HI}
    remedies = {remedy.what.value: remedy.value for remedy in caught2.value.explain().remedies}
    assert remedies["nocross"] == 8 * PAGE
    assert space.xalloc(remedies["size"], nocross=4 * PAGE, lo=6 * PAGE, hi=22 * PAGE) > 0


def test_where_nothing_helps_no_remedy_is_made_up() -> None:
    """A full space behind a full source: no smaller alignment, wider boundary or higher limit would do."""
    space = make(pages=4, arena=4, limit=4)
    space.alloc(4 * PAGE)
    with pytest.raises(KvaLimitError) as caught:
        space.xalloc(PAGE, align=4 * PAGE, nocross=4 * PAGE)
    assert caught.value.explain().remedies == ()


@pytest.mark.parametrize("fit", [Fit.INSTANT, Fit.FIRST])
def test_every_hole_is_tried_before_a_constrained_request_is_refused(fit: Fit) -> None:
    """The newest of a class, the others of it, and those beyond the cursor."""
    space = make(pages=8, arena=8, fit=fit)
    buffers = [space.alloc(PAGE) for _ in range(8)]
    for number in (1, 3, 5):
        space.free(buffers[number])
    assert space.xalloc(PAGE, lo=3 * PAGE, hi=4 * PAGE - 1) == 3 * PAGE
    with pytest.raises(KvaLimitError):
        space.xalloc(PAGE, lo=6 * PAGE)


def test_contradicting_constraints_import_nothing() -> None:
    """No arena could help, so none is tried."""
    space = make(pages=16, arena=4)
    with pytest.raises(NoSpaceError) as caught:
        space.xalloc(3 * PAGE, align=4 * PAGE, phase=2 * PAGE, nocross=4 * PAGE)
    assert "contradict" in caught.value.explain().import_verdict
    assert space.stats().imports == 0


def test_an_import_that_does_not_help_is_given_back() -> None:
    """Bounds that the source does not know of cannot be imported for."""
    space = make(pages=16, arena=4, release=NEVER)
    with pytest.raises(NoSpaceError) as caught:
        space.xalloc(PAGE, lo=8 * PAGE)
    assert "does not admit" in caught.value.explain().import_verdict
    assert (space.stats().mapped, space.stats().imports) == (0, space.stats().releases)
    assert {remedy.what for remedy in caught.value.explain().remedies} >= {"lo"}


def test_a_remedy_for_the_limit_is_the_smallest_that_works() -> None:
    """One page less still fails."""
    for limit, works in ((9, False), (10, True)):
        space = make(pages=32, arena=4, limit=limit)
        space.alloc(4 * PAGE)
        if works:
            assert space.alloc(6 * PAGE) == 4 * PAGE
        else:
            with pytest.raises(KvaLimitError) as caught:
                space.alloc(6 * PAGE)
            assert caught.value.explain().remedies == (
                Remedy(Change.SIZE, 5 * PAGE),
                Remedy(Change.KVA_LIMIT, 10 * PAGE),
            )
            assert "kva_limit leaves 20480" in caught.value.explain().import_verdict


def test_spaces_nest() -> None:
    """A space is a source for another: arenas of the inner one are buffers of the outer."""
    outer = CoalescingSpace(KernelMap(base=0, size=64 * PAGE), kva_limit=64 * PAGE, arena_size=32 * PAGE)
    inner = CoalescingSpace(outer, kva_limit=16 * PAGE, arena_size=4 * PAGE, quantum=256)
    buffers = [inner.alloc(256) for _ in range(20)]
    assert (
        outer.stats().live == inner.stats().mapped == 8 * PAGE or outer.stats().live == 4 * PAGE * inner.stats().arenas
    )
    inner.touch(buffers[0], 256)
    inner.discard(buffers[0] // PAGE * PAGE, PAGE)
    inner.check()
    outer.check()
    for base in buffers:
        inner.free(base)
    inner.reclaim()
    assert outer.stats().live == 0
    assert outer.maps(0, PAGE) is False
    base = outer.map(PAGE)
    assert outer.maps(base, PAGE)
    with pytest.raises(InvalidRequestError, match="has 4096 bytes"):
        outer.unmap(base, 2 * PAGE)
    with pytest.raises(InvalidRequestError):
        outer.unmap(base, 1.5)  # type: ignore[arg-type]
    outer.unmap(base, PAGE)
    large = outer.map(4 * PAGE)
    assert outer.maps(large + PAGE, PAGE)
    assert not outer.maps(large + PAGE, 4 * PAGE)
    assert not outer.maps(large, -5)
    outer.unmap(large, 4 * PAGE)
    with pytest.raises(KvaLimitError):
        inner.alloc(17 * PAGE)
    assert outer.granule == PAGE


class Liar(KernelMap):
    """A source that hands out the same range twice, or one off the quantum."""

    answer = 0

    def map(self, size: int) -> int:  # noqa: ARG002 (it does not listen)
        return self.answer


def test_a_source_that_lies_is_found_out() -> None:
    """Arenas are disjoint and aligned (I2, I8)."""
    space = CoalescingSpace(Liar(), kva_limit=MiB, arena_size=4 * PAGE)
    space.alloc(4 * PAGE)
    with pytest.raises(SpanOverlapError):
        space.alloc(PAGE)
    odd = CoalescingSpace(Liar(), kva_limit=MiB, arena_size=4 * PAGE)
    odd._arenas.source.answer = 100  # type: ignore[attr-defined]
    with pytest.raises(SpanOverlapError, match="off its granule"):
        odd.alloc(PAGE)


class Stubborn(KernelMap):
    """A source that takes nothing back while it is told not to."""

    stubborn = False

    def unmap(self, base: int, size: int) -> None:
        if self.stubborn:
            raise RuntimeError("not now")
        super().unmap(base, size)


def test_an_arena_that_the_source_does_not_take_back_stays_among_the_idle_ones() -> None:
    """After a reclaim that fails halfway, the next free still keeps no more idle arenas than the rule allows (I10)."""
    source = Stubborn(size=8 * PAGE)
    space = CoalescingSpace(source, kva_limit=8 * PAGE, arena_size=4 * PAGE)
    first, second = space.alloc(4 * PAGE), space.alloc(4 * PAGE)
    space.free(second)
    source.stubborn = True
    with pytest.raises(RuntimeError):
        space.reclaim()
    source.stubborn = False
    space.free(first)
    space.check()
    assert space.stats().mapped == 4 * PAGE


def test_render_draws_every_kind_of_segment() -> None:
    """One line an arena, one character an equal share."""
    space = make(pages=8, arena=8, quantum_cache=PAGE)
    assert space.render() == "no arena is mapped"
    a, _, c = space.alloc(PAGE), space.alloc(2 * PAGE), space.alloc(PAGE)
    space.free(a)
    del c
    assert space.render(8) == "0x0    32 KiB |c###....|  37% busy"
    assert space.render(4) == "0x0    32 KiB |+#..|  37% busy"
    for width in (0, 1.5, True):
        with pytest.raises(InvalidRequestError):
            space.render(width)  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", Fit)
def test_every_fit_says_what_it_visited(fit: Fit) -> None:
    """A search that succeeds looks at one hole at least."""
    space = make(fit=fit)
    space.alloc(PAGE)
    assert space.stats().holes_visited >= 1
    assert space.stats().external_fragmentation == 0
    assert make().stats().external_fragmentation == 0
