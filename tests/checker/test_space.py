"""Corrupt one field: the space's check() reports exactly that invariant's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import EAGER, NEVER, CellSpace, CoalescingSpace, Fit, InvariantViolation, KernelMap, PerPipeSpace

PAGE = 4096


def make(fit: Fit = Fit.BEST, *, cache: int = 0) -> CoalescingSpace:
    """Two adjacent arenas of 8 pages: buffers of 2 pages, two holes between them, a wholly free third arena."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    space = CoalescingSpace(
        kernel, kva_limit=64 * PAGE, arena_size=8 * PAGE, fit=fit, quantum_cache=cache * PAGE, release=NEVER
    )
    buffers = [space.alloc(2 * PAGE) for _ in range(12)]
    for number in (1, 5, 8, 9, 10, 11):
        space.free(buffers[number])
    space.check()
    return space


def codes(space: Any) -> tuple[str, ...]:
    """What check() reports."""
    with pytest.raises(InvariantViolation) as caught:
        space.check()
    assert caught.value.dump
    return caught.value.codes


def shrink_a_buffer(space: CoalescingSpace) -> None:
    space._busy[0] = PAGE


def grow_a_buffer(space: CoalescingSpace) -> None:
    space._busy[4 * PAGE] = 3 * PAGE


def unmap_an_arena(space: CoalescingSpace) -> None:
    space._source.unmap(16 * PAGE, 8 * PAGE)


def overlap_arenas(space: CoalescingSpace) -> None:
    # The third arena, moved down onto the second: every other figure is kept in step.
    holes = space._holes
    holes.remove(16 * PAGE, 8 * PAGE)
    del space._arenas[16 * PAGE]
    space._arenas[14 * PAGE] = 2 * PAGE
    space._mapped -= 6 * PAGE
    space._smallest_arena = 2 * PAGE


def leave_holes_apart(space: CoalescingSpace) -> None:
    space._holes.remove(16 * PAGE, 8 * PAGE)
    space._holes.insert(16 * PAGE, 4 * PAGE)
    space._holes.insert(20 * PAGE, 4 * PAGE)


def join_across_arenas(space: CoalescingSpace) -> None:
    for base in (12 * PAGE, 14 * PAGE):
        space.free(base)
    space._holes.remove(10 * PAGE, 6 * PAGE)
    space._holes.remove(16 * PAGE, 8 * PAGE)
    space._holes.insert(10 * PAGE, 14 * PAGE)


def forget_a_hole_by_end(space: CoalescingSpace) -> None:
    del space._holes.start_of[4 * PAGE]


def add_a_phantom_buffer(space: CoalescingSpace) -> None:
    space._busy[17 * PAGE] = PAGE


def add_a_buffer_nowhere(space: CoalescingSpace) -> None:
    space._busy[60 * PAGE] = PAGE


def lose_a_free(space: CoalescingSpace) -> None:
    space._frees -= 1


def miscount_mapped(space: CoalescingSpace) -> None:
    space._mapped += PAGE


def shift_by_a_byte(space: CoalescingSpace) -> None:
    # Two neighbouring buffers, with the boundary between them off the quantum; both sums stay.
    size = space._busy.pop(6 * PAGE)
    space._busy[4 * PAGE] += 1
    space._busy[6 * PAGE + 1] = size - 1


def lower_the_limit(space: CoalescingSpace) -> None:
    space._kva_limit = PAGE


def keep_too_many(space: CoalescingSpace) -> None:
    space._release = EAGER


CORRUPTIONS: list[tuple[Callable[[CoalescingSpace], None], str]] = [
    (shrink_a_buffer, "I1"),
    (grow_a_buffer, "I1"),
    (unmap_an_arena, "I2"),
    (overlap_arenas, "I2"),
    (leave_holes_apart, "I3"),
    (join_across_arenas, "I4"),
    (forget_a_hole_by_end, "I5"),
    (add_a_phantom_buffer, "I6"),
    (add_a_buffer_nowhere, "I6"),
    (lose_a_free, "I6"),
    (miscount_mapped, "I7"),
    (shift_by_a_byte, "I8"),
    (lower_the_limit, "I9"),
    (keep_too_many, "I10"),
]


@pytest.mark.parametrize(("corrupt", "code"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_each_corruption_is_reported_with_its_code_and_no_other(
    corrupt: Callable[[CoalescingSpace], None], code: str
) -> None:
    """A message names what was seen."""
    space = make()
    corrupt(space)
    assert codes(space) == (code,)
    assert all(violation.message for violation in space.violations())


@pytest.mark.parametrize("fit", Fit, ids=lambda fit: fit.value)
def test_every_index_by_size_is_compared(fit: Fit) -> None:
    """A hole that only the index by size has lost, or has elsewhere, is I5 for every fit."""
    space = make(fit)
    holes: Any = space._holes
    if hasattr(holes, "tree"):
        holes.tree.remove(2 * PAGE)
        holes.tree.insert(2 * PAGE, PAGE)
    else:
        bins = holes.bins
        key = next(key for key, bin_ in bins.items() if 2 * PAGE in bin_)
        del bins[key][2 * PAGE]
    assert codes(space) == ("I5",)


def test_a_hole_in_a_wrong_class_is_found() -> None:
    """The class index says which holes it holds, and must be right about the class."""
    space = make(Fit.INSTANT)
    bins = space._holes.bins  # type: ignore[attr-defined]
    del bins[1][2 * PAGE]
    bins[0] = {2 * PAGE: None}
    assert codes(space) == ("I5",)


def test_a_wrong_largest_hole_is_found() -> None:
    """It is a figure that callers rely on."""
    space = make()
    space._holes.sizes.append(100 * PAGE)  # type: ignore[attr-defined]
    space._holes.bins[100 * PAGE] = {}  # type: ignore[attr-defined]
    assert codes(space) == ("I5",)


def test_an_address_cached_twice_is_found() -> None:
    """It would be handed out twice."""
    space = make(cache=2)
    space._cache[2 * PAGE].append(space._cache[2 * PAGE][0])
    assert "I6" in codes(space)


PER_PIPE: list[tuple[Callable[[PerPipeSpace, KernelMap], None], str]] = [
    (lambda _, kernel: kernel.unmap(0, PAGE), "I2"),
    (lambda space, _: setattr(space, "_frees", 5), "I6"),
    (lambda space, _: setattr(space, "_mapped", PAGE), "I7"),
    (lambda space, _: setattr(space, "_kva_limit", PAGE), "I9"),
]


@pytest.mark.parametrize(("corrupt", "code"), PER_PIPE, ids=[code for _, code in PER_PIPE])
def test_the_baselines_corruptions_are_reported(corrupt: Callable[[PerPipeSpace, KernelMap], None], code: str) -> None:
    """Each with its code and no other."""
    kernel = KernelMap(base=0)
    space = PerPipeSpace(kernel, kva_limit=16 * PAGE)
    space.alloc(PAGE)
    space.alloc(2 * PAGE)
    corrupt(space, kernel)
    assert codes(space) == (code,)


def test_the_baselines_alignment_is_checked() -> None:
    """A buffer off the page is I8."""
    kernel = KernelMap(base=0)
    space = PerPipeSpace(kernel, kva_limit=16 * PAGE)
    space.alloc(2 * PAGE)
    space._buffers = {1: 2 * PAGE - 1}
    space._mapped -= 1
    assert codes(space) == ("I8",)


def test_overlapping_buffers_of_the_baseline_are_found() -> None:
    """Each is an arena of its own (I2); one of no size is I8."""
    kernel = KernelMap(base=0)
    space = PerPipeSpace(kernel, kva_limit=16 * PAGE)
    a, _ = space.alloc(PAGE), space.alloc(2 * PAGE)
    space._buffers[a] = 2 * PAGE
    space._mapped += PAGE
    assert codes(space) == ("I2",)
    space._buffers[a] = 0
    space._mapped -= 2 * PAGE
    assert "I8" in codes(space)


@pytest.mark.parametrize("corrupt", ["maximum", "link"])
def test_a_broken_search_tree_is_found(corrupt: str) -> None:
    """The tree of FIRST and NEXT is checked in itself: a search would miss holes."""
    space = make(Fit.FIRST)
    root = space._holes.tree._root  # type: ignore[attr-defined]
    child = root.left or root.right
    if corrupt == "maximum":
        child.largest = 0
    else:
        child.parent = None
    assert codes(space) == ("I5",)


def test_a_hole_in_two_bins_and_bins_that_are_empty_are_found() -> None:
    """The bins must hold each hole once, and the list of sizes must be that of the bins."""
    twice = make()
    twice._holes.bins[8 * PAGE][2 * PAGE] = None  # type: ignore[attr-defined]
    assert codes(twice) == ("I5",)
    listed = make()
    listed._holes.sizes.insert(0, listed._holes.sizes[0])  # type: ignore[attr-defined]
    assert codes(listed) == ("I5",)
    classes = make(Fit.CLASS_BEST)
    classes._holes.bins[77] = {}  # type: ignore[attr-defined]
    assert codes(classes) == ("I5",)
    stray = make(Fit.CLASS_BEST)
    stray._holes.bins[1][100 * PAGE] = None  # type: ignore[attr-defined]
    assert codes(stray) == ("I5",)


@pytest.mark.parametrize(("name", "value"), [("_peak_mapped", 0), ("_imports", 9), ("_smallest_arena", 1 << 40)])
def test_figures_about_arenas_are_recomputed(name: str, value: int) -> None:
    """They are I7."""
    space = make()
    setattr(space, name, value)
    assert codes(space) == ("I7",)


def test_a_space_without_its_arenas_is_reported_not_a_crash() -> None:
    """Even the picture can be drawn."""
    space = make()
    space._arenas.clear()
    assert {"I1", "I4", "I6", "I7"} <= set(codes(space))


def test_the_oracle_checks_itself() -> None:
    """Its cells are all it has."""
    oracle = CellSpace(8, quantum=1)
    oracle.alloc(2)
    oracle.alloc(2)
    oracle._owner[6] = 0
    assert codes(oracle) == ("I1",)


def corrupt_mapped(kernel: KernelMap) -> None:
    kernel._mapped += PAGE


def corrupt_gap(kernel: KernelMap) -> None:
    kernel._gaps.set_length(kernel._by_start[0], PAGE)


def corrupt_tree(kernel: KernelMap) -> None:
    root = kernel._gaps._root
    assert root is not None
    root.largest += 1


def corrupt_order(kernel: KernelMap) -> None:
    kernel._by_start[4 * PAGE].end = 100 * PAGE


def corrupt_link(kernel: KernelMap) -> None:
    kernel._by_start[4 * PAGE].before = None


def corrupt_nodes(kernel: KernelMap) -> None:
    kernel._gaps.drop(kernel._by_start[0])


def corrupt_table(kernel: KernelMap) -> None:
    kernel._by_start[77] = kernel._by_start[0]


def corrupt_residency(kernel: KernelMap) -> None:
    kernel._resident.add(1000)


def corrupt_peak(kernel: KernelMap) -> None:
    kernel._peak_entries = 0


def corrupt_references(kernel: KernelMap) -> None:
    backing = kernel._by_start[0].object
    assert backing is not None
    backing.references = 7


MAP: list[tuple[Callable[[KernelMap], None], str]] = [
    (corrupt_mapped, "mapped is"),
    (corrupt_gap, "gaps in the tree"),
    (corrupt_tree, "stored largest"),
    (corrupt_order, "out of order or overlaps"),
    (corrupt_link, "not linked back"),
    (corrupt_nodes, "entries in the tree"),
    (corrupt_table, "table of entries"),
    (corrupt_residency, "resident and not mapped"),
    (corrupt_peak, "a peak is below"),
    (corrupt_references, "references"),
]


@pytest.mark.parametrize(("corrupt", "words"), MAP, ids=[words for _, words in MAP])
def test_the_maps_corruptions_are_mi1_in_their_own_words(corrupt: Callable[[KernelMap], None], words: str) -> None:
    """Every stored figure is recomputed from the list of entries."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    for _ in range(4):
        kernel.map(2 * PAGE)
    kernel.unmap(2 * PAGE, 2 * PAGE)
    kernel.check()
    corrupt(kernel)
    assert codes(kernel) == ("MI1",)
    assert any(words in violation.message for violation in kernel.violations())
