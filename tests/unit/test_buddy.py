"""The buddy system."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    EAGER,
    BadFreeError,
    BuddySpace,
    FreeFault,
    Geometry,
    InvalidRequestError,
    KernelMap,
    Kind,
    KvaLimitError,
    NoSpaceError,
    PerPipeSpace,
    SpanOverlapError,
    Tie,
)
from coalloc.space.buddy import _Blocks

PAGE = 4096


def make(pages: int = 16, **keywords: Any) -> BuddySpace:
    """Make a space with one arena of so many pages."""
    return BuddySpace(KernelMap(base=0, size=pages * PAGE), kva_limit=pages * PAGE, arena_size=pages * PAGE, **keywords)


def test_sizes_are_rounded_to_powers_of_two_and_blocks_lie_at_multiples_of_their_size() -> None:
    """An alloc halves the lowest of the smallest blocks that suffice."""
    space = make()
    assert [space.alloc(n * PAGE) // PAGE for n in (1, 3, 2, 1)] == [0, 4, 2, 1]
    assert [space.size_of(base) // PAGE for base in (0, 4 * PAGE)] == [1, 4]
    assert [(s.base // PAGE, s.size // PAGE) for s in space.segments() if s.kind is Kind.FREE] == [(8, 8)]
    space.check()
    assert "|########........|" in space.render(16)


def test_blocks_join_with_their_buddies_only() -> None:
    """A free block coalesces with its buddy, but not with another free neighbour."""
    space = make(4)
    bases = [space.alloc(PAGE) for _ in range(4)]
    space.free(bases[1])
    space.free(bases[2])
    assert [(s.base // PAGE, s.size // PAGE) for s in space.segments() if s.kind is Kind.FREE] == [(1, 1), (2, 1)]
    with pytest.raises(KvaLimitError):
        space.alloc(2 * PAGE)
    space.free(bases[0])
    space.free(bases[3])
    assert [(s.base, s.size) for s in space.segments()] == [(0, 4 * PAGE)]
    assert space.stats().coalesces == 3


def test_of_many_blocks_the_lowest_is_taken() -> None:
    """Of many free blocks of one size the lowest is taken, and the queue does not grow with blocks that are struck."""
    space = make(32)
    bases = [space.alloc(PAGE) for _ in range(32)]
    for base in bases[::-2]:
        space.free(base)
    assert [space.alloc(PAGE) // PAGE for _ in range(3)] == [1, 3, 5]
    space.check()
    blocks = _Blocks()
    for base in (5, *range(7, 100)):
        blocks.add(base)
        blocks.bases.discard(base - 1)
    assert len(blocks.queue) <= 2 * len(blocks.bases) + 9
    assert (blocks.take_lowest(), blocks.take_lowest()) == (5, 99)


def test_an_arena_of_any_size_is_cut_into_the_largest_blocks() -> None:
    """An arena of seven pages is cut into blocks of 4, 2 and 1, and has no place for seven pages at once."""
    space = make(7)
    first = space.alloc(PAGE)
    assert first == 6 * PAGE
    assert [s.size // PAGE for s in space.segments()] == [4, 2, 1]
    with pytest.raises(KvaLimitError) as caught:
        space.alloc(7 * PAGE)
    assert caught.value.request == 8 * PAGE


def test_arenas_are_imported_and_released_as_the_rule_says() -> None:
    """A large request gets an arena of its own, and idle arenas are released by the rule or for a request."""
    kernel = KernelMap(base=0, size=16 * PAGE)
    space = BuddySpace(kernel, kva_limit=8 * PAGE, arena_size=2 * PAGE)
    a, b = space.alloc(2 * PAGE), space.alloc(PAGE)
    assert space.stats().arenas == 2
    space.free(a)
    assert space.stats().arenas == 2  # one idle arena is kept
    large = space.alloc(4 * PAGE)
    space.free(b)
    assert (space.stats().arenas, space.available()) == (2, 2 * PAGE)
    space.free(large)
    assert space.reclaim() == 2 * PAGE
    assert kernel.counters().mapped == 0
    assert space.alloc(8 * PAGE) == 0
    eager = BuddySpace(KernelMap(base=0, size=4 * PAGE), kva_limit=4 * PAGE, arena_size=PAGE, release=EAGER)
    eager.free(eager.alloc(PAGE))
    assert (eager.stats().mapped, eager.stats().peak_mapped, eager.available()) == (0, PAGE, 4 * PAGE)


def test_a_refusal_comes_after_idle_arenas_were_released() -> None:
    """A request is refused only after idle arenas were released, and the refusal offers a size that succeeds."""
    space = BuddySpace(KernelMap(base=0, size=8 * PAGE), kva_limit=4 * PAGE, arena_size=PAGE)
    held = space.alloc(PAGE)
    space.free(space.alloc(PAGE))
    with pytest.raises(KvaLimitError) as caught:
        space.alloc(4 * PAGE)
    assert (space.stats().refusals, space.stats().arenas) == (1, 1)
    assert str(caught.value.explain().remedies[0]) == f"ask for at most {2 * PAGE}"
    assert space.alloc(2 * PAGE) >= 0
    space.free(held)
    small = BuddySpace(KernelMap(base=0, size=2 * PAGE), kva_limit=64 * PAGE, arena_size=2 * PAGE)
    with pytest.raises(NoSpaceError):
        small.alloc(4 * PAGE)
    assert (small.available(), BuddySpace(KernelMap(size=PAGE), kva_limit=1, quantum=64).available()) == (2 * PAGE, 0)


def test_a_resize_moves_unless_the_block_is_the_same() -> None:
    """A resize to another block size moves the buffer, and a refused resize leaves it as it was."""
    space = make(4)
    base = space.alloc(PAGE + 1)
    assert space.resize(base, 2 * PAGE) == base
    moved = space.resize(base, 1)
    assert (moved, space.size_of(moved), space.stats().resizes_moved) == (2 * PAGE, PAGE, 1)
    with pytest.raises(KvaLimitError):
        space.resize(moved, 4 * PAGE)
    assert space.size_of(moved) == PAGE
    space.touch(moved, PAGE)
    space.discard(moved, PAGE)


@pytest.mark.parametrize("address", [0, PAGE, 9 * PAGE, 5])
def test_bad_frees_are_told_apart(address: int) -> None:
    """The error tells an address that was freed already from one inside a buffer and one never handed out."""
    space = make()
    space.free(space.alloc(PAGE))
    space.alloc(4 * PAGE)
    space.free(0)
    space.alloc(2 * PAGE)
    space.free(space.alloc(4 * PAGE))
    with pytest.raises(BadFreeError) as caught:
        space.free(address or 4 * PAGE)
    expected = {0: FreeFault.FREED_TWICE, PAGE: FreeFault.INSIDE_BUFFER, 5: FreeFault.INSIDE_BUFFER}
    assert caught.value.fault is expected.get(address, FreeFault.NEVER_ALLOCATED)
    with pytest.raises(InvalidRequestError):
        space.free("0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("quantum", 3), ("quantum", 8192), ("arena_size", 5000), ("release", 1), ("kva_limit", 0)],
)
def test_bad_arguments_are_refused_by_name(name: str, value: Any) -> None:
    """A bad argument of the constructor is refused by its name."""
    arguments: dict[str, Any] = {"kva_limit": 1 << 20} | {name: value}
    with pytest.raises(InvalidRequestError) as caught:
        BuddySpace(KernelMap(), **arguments)
    assert caught.value.what == name


def test_the_contract_says_buddy() -> None:
    """The contract declares buddy geometry and the lowest of equal blocks."""
    contract = make().contract
    assert (contract.geometry, contract.tie) == (Geometry.BUDDY, Tie.LOWEST)
    assert (make(quantum=64).quantum, make().kva_limit) == (64, 16 * PAGE)


def test_a_source_that_returns_part_of_an_arena_is_reported() -> None:
    """A source that returns a range twice causes SpanOverlapError."""

    class Twice(KernelMap):
        def map(self, size: int) -> int:  # noqa: ARG002 (it does not listen)
            return 0

    space = BuddySpace(Twice(base=0, size=8 * PAGE), kva_limit=8 * PAGE, arena_size=PAGE)
    space.alloc(PAGE)
    with pytest.raises(SpanOverlapError):
        space.alloc(PAGE)


def test_a_remedy_is_a_block_that_would_be_had() -> None:
    """The size that a remedy offers is that of a block that can be allocated."""
    space = make(7)
    with pytest.raises(KvaLimitError) as caught:
        space.alloc(8 * PAGE)
    assert str(caught.value.explain().remedies[0]) == f"ask for at most {4 * PAGE}"
    assert space.alloc(4 * PAGE) == 0


def test_it_is_a_source_for_sizes_that_are_no_power_of_two() -> None:
    """A buddy space can be the source of another space for sizes that are not powers of two."""
    above = PerPipeSpace(BuddySpace(KernelMap(), kva_limit=1 << 24), kva_limit=1 << 20)
    base = above.alloc(3 * PAGE)
    above.free(base)
    above.check()
