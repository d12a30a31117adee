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
    """Make a space over a small map at address 0."""
    kernel = KernelMap(base=0, size=pages * PAGE)
    limit = pages if limit is None else limit
    return CoalescingSpace(kernel, kva_limit=limit * PAGE, arena_size=arena * PAGE, **options)


def state(space: CoalescingSpace) -> tuple[Any, ...]:
    """Return all that a caller can see."""
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
    """The error for a bad argument names the argument."""
    with pytest.raises(InvalidRequestError) as caught:
        CoalescingSpace(KernelMap(), **({"kva_limit": MiB} | options))
    assert caught.value.what == next(iter(options))


@pytest.mark.parametrize("cache", [0, 4 * PAGE])
@pytest.mark.parametrize("size", [0, -1, -PAGE, 1.5, 4096.0, True, None, "1", 2**63 + 1])
def test_bad_sizes_change_nothing(size: Any, cache: int) -> None:
    """A bad size is refused and changes nothing, even a float or bool that equals the key of a cached size."""
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
    """A bad constraint is refused by its name and changes nothing."""
    space = make()
    space.alloc(PAGE)
    before = state(space)
    with pytest.raises(InvalidRequestError) as caught:
        space.xalloc(2 * PAGE, **bounds)
    assert caught.value.what == what
    assert state(space) == before


def test_bad_frees_are_told_apart_and_change_nothing() -> None:
    """The error says what is wrong with an address that cannot be freed, and nothing changes."""
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
    """Freeing a buffer again while it is cached is told as freed twice."""
    space = make(quantum_cache=PAGE)
    base = space.alloc(PAGE)
    space.free(base)
    with pytest.raises(BadFreeError) as caught:
        space.free(base)
    assert caught.value.fault is FreeFault.FREED_TWICE


def test_address_zero_is_an_address() -> None:
    """Address 0 is handed out, found, resized, cached and freed like any other."""
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
    """The contract states the configured fit and release, and a cache makes coalescing deferred."""
    contract = make(fit=Fit.NEXT, release=NEVER).contract
    assert (contract.fit, contract.release, contract.coalescing) == (Fit.NEXT, NEVER, Coalescing.IMMEDIATE)
    assert (contract.completeness, contract.resize, len(contract.constraints)) == (
        Completeness.EXACT,
        Resize.IN_PLACE,
        5,
    )
    assert make(quantum_cache=PAGE).contract.coalescing is Coalescing.DEFERRED


def test_the_last_arena_may_be_shorter_and_a_large_request_gets_its_own() -> None:
    """A large request gets its own arena, and the last arena is shorter so that the limit holds."""
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
    """Only the whole pages of a limit are imported."""
    space = CoalescingSpace(KernelMap(), kva_limit=2 * PAGE + 100, arena_size=4 * PAGE)
    assert space.available() == 2 * PAGE
    space.alloc(PAGE)
    assert space.stats().mapped == 2 * PAGE
    with pytest.raises(KvaLimitError):
        space.alloc(2 * PAGE)


def test_where_the_source_has_no_room_for_an_arena_the_bare_request_is_tried() -> None:
    """If the source cannot give a whole arena, the space imports what the request needs."""
    space = make(pages=7, arena=4, limit=100)
    buffers = [space.alloc(PAGE) for _ in range(7)]
    assert sorted(buffers) == [n * PAGE for n in range(7)]
    with pytest.raises(NoSpaceError) as caught:
        space.alloc(PAGE)
    assert "the source offers 0" in caught.value.explain().import_verdict
    assert space.stats().refusals == 1


def test_a_failing_alloc_drains_and_releases_before_it_refuses() -> None:
    """A failing alloc drains the cache and releases idle arenas, and then succeeds."""
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
    """The cache keeps CACHE_DEPTH buffers of a size, and further ones are coalesced."""
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
    """Each release rule keeps its number of free arenas, and reclaim gives back all of them."""
    space = make(pages=16, arena=4, release=release)
    buffers = [space.alloc(4 * PAGE) for _ in range(4)]
    for base in buffers:
        space.free(base)
    assert space.stats().arenas == kept
    space.check()
    assert space.reclaim() == 4 * kept * PAGE
    assert space.stats().arenas == 0


def test_resize_grows_into_the_hole_behind_shrinks_in_place_and_moves_otherwise() -> None:
    """A resize grows into the hole behind, shrinks in place or moves, and the figures say which."""
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
    """A resize grows in place into a cached neighbour that is drained for it."""
    space = make(pages=2, arena=2, limit=2, quantum_cache=PAGE)
    first, second = space.alloc(PAGE), space.alloc(PAGE)
    space.free(second)
    assert space.resize(first, 2 * PAGE) == first
    assert (space.stats().refusals, space.stats().resizes_in_place) == (0, 1)


def test_draining_is_tried_before_arenas_are_released() -> None:
    """The cache is drained first, so that the arena it empties serves the request without another import."""
    kernel = KernelMap(base=0)
    space = CoalescingSpace(kernel, kva_limit=4 * PAGE, arena_size=4 * PAGE, quantum_cache=PAGE)
    for base in [space.alloc(PAGE) for _ in range(4)]:
        space.free(base)
    space.alloc(2 * PAGE)
    assert (kernel.counters().map_ops, kernel.counters().unmap_ops) == (1, 0)


def test_after_draining_the_release_rule_holds_again() -> None:
    """Draining releases the wholly free arenas that the release rule does not keep."""
    space = CoalescingSpace(
        KernelMap(base=0), kva_limit=12 * PAGE, arena_size=4 * PAGE, quantum_cache=2 * PAGE, release=RETAIN(1)
    )
    for base in [space.alloc(2 * PAGE) for _ in range(6)]:
        space.free(base)
    space.alloc(3 * PAGE)
    assert space.stats().arenas == 2
    space.check()


def test_resize_does_not_grow_across_an_arena_boundary() -> None:
    """A resize does not grow into a hole of another arena."""
    space = make(pages=8, arena=4)
    a = space.alloc(4 * PAGE)
    b = space.alloc(4 * PAGE)
    space.free(b)
    with pytest.raises(KvaLimitError):
        space.resize(a, 5 * PAGE)
    assert space.size_of(a) == 4 * PAGE


def test_reserve_takes_exactly_what_it_is_given() -> None:
    """A reserve takes exactly its range, and a refusal names what is in the way."""
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
    """An explanation names the rule against each hole, and its remedies succeed."""
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
    """A full space over a full source offers no remedy."""
    space = make(pages=4, arena=4, limit=4)
    space.alloc(4 * PAGE)
    with pytest.raises(KvaLimitError) as caught:
        space.xalloc(PAGE, align=4 * PAGE, nocross=4 * PAGE)
    assert caught.value.explain().remedies == ()


@pytest.mark.parametrize("fit", [Fit.INSTANT, Fit.FIRST])
def test_every_hole_is_tried_before_a_constrained_request_is_refused(fit: Fit) -> None:
    """A constrained request is served from any hole that admits it, whatever the search order."""
    space = make(pages=8, arena=8, fit=fit)
    buffers = [space.alloc(PAGE) for _ in range(8)]
    for number in (1, 3, 5):
        space.free(buffers[number])
    assert space.xalloc(PAGE, lo=3 * PAGE, hi=4 * PAGE - 1) == 3 * PAGE
    with pytest.raises(KvaLimitError):
        space.xalloc(PAGE, lo=6 * PAGE)


def test_contradicting_constraints_import_nothing() -> None:
    """Constraints that contradict each other are refused without an import."""
    space = make(pages=16, arena=4)
    with pytest.raises(NoSpaceError) as caught:
        space.xalloc(3 * PAGE, align=4 * PAGE, phase=2 * PAGE, nocross=4 * PAGE)
    assert "contradict" in caught.value.explain().import_verdict
    assert space.stats().imports == 0


def test_an_import_that_does_not_help_is_given_back() -> None:
    """An import that does not admit the request is given back, and the refusal says so."""
    space = make(pages=16, arena=4, release=NEVER)
    with pytest.raises(NoSpaceError) as caught:
        space.xalloc(PAGE, lo=8 * PAGE)
    assert "does not admit" in caught.value.explain().import_verdict
    assert (space.stats().mapped, space.stats().imports) == (0, space.stats().releases)
    assert {remedy.what for remedy in caught.value.explain().remedies} >= {"lo"}


def test_a_remedy_for_the_limit_is_the_smallest_that_works() -> None:
    """The limit that a remedy offers is enough, and one page less is not."""
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
    """A space can be the source of another, whose arenas are its buffers."""
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
    """A source that returns a range twice, or one off the quantum, causes SpanOverlapError."""
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
    """After a reclaim that failed halfway, a free still keeps no more idle arenas than the rule allows (I10)."""
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
    """A picture has a line for each arena, with a character for each equal share."""
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


@pytest.mark.parametrize("fit", [Fit.BEST, Fit.FIRST, Fit.NEXT, Fit.INSTANT, Fit.CLASS_BEST])
def test_every_fit_says_what_it_visited(fit: Fit) -> None:
    """For every fit, an alloc counts at least one hole visited."""
    space = make(fit=fit)
    space.alloc(PAGE)
    assert space.stats().holes_visited >= 1
    assert space.stats().external_fragmentation == 0
    assert make().stats().external_fragmentation == 0
