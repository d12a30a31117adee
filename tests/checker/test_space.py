"""Corrupt one field: the space's check() reports exactly that invariant's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import EAGER, NEVER, CellSpace, CoalescingSpace, Fit, InvariantViolation, KernelMap, PerPipeSpace
from coalloc.space.coalescing import FITS
from coalloc.space.holes import BUSY, CACHED, FREED, HOLE, WALL, Tag

PAGE = 4096


def make(fit: Fit = Fit.BEST, *, cache: int = 0) -> CoalescingSpace:
    """Make two adjacent arenas with buffers and holes of 2 pages, and a third arena that is wholly free."""
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
    """Return the codes that check() reports."""
    with pytest.raises(InvariantViolation) as caught:
        space.check()
    assert caught.value.dump
    return caught.value.codes


def tag_at(space: CoalescingSpace, page: int) -> Tag:
    """Return the tag of the segment that begins at a page."""
    return space._at[page * PAGE]


def shrink_a_buffer(space: CoalescingSpace) -> None:
    tag_at(space, 0).size = PAGE


def grow_a_buffer(space: CoalescingSpace) -> None:
    tag_at(space, 4).size = 3 * PAGE


def cut_a_segment_out(space: CoalescingSpace) -> None:
    # Links, table and bins agree that there is no hole from page 2 to page 4.
    hole = tag_at(space, 2)
    space._holes.remove(hole)
    del space._at[2 * PAGE]
    hole.before.after, hole.after.before = hole.after, hole.before


def unmap_an_arena(space: CoalescingSpace) -> None:
    space._arenas.source.unmap(16 * PAGE, 8 * PAGE)


def overlap_arenas(space: CoalescingSpace) -> None:
    # The third arena, moved down onto the second: every other figure is kept in step.
    space._holes.drop(tag_at(space, 16))
    del space._arenas.size_at[16 * PAGE]
    space._arenas.size_at[14 * PAGE] = 2 * PAGE
    space._arenas.mapped -= 6 * PAGE


def leave_holes_apart(space: CoalescingSpace) -> None:
    hole = tag_at(space, 16)
    space._holes.remove(hole)
    space._holes.insert(space._holes._cut(hole, 4 * PAGE))
    space._holes.insert(hole)


def join_across_arenas(space: CoalescingSpace) -> None:
    for page in (12, 14):
        space.free(page * PAGE)
    low, high = tag_at(space, 10), tag_at(space, 16)
    space._holes.remove(low)
    space._holes.remove(high)
    space._holes._absorb(low, high)
    space._holes.insert(low)


def open_the_wall(space: CoalescingSpace) -> None:
    space._holes.wall.state = HOLE


def leave_out_what_follows(space: CoalescingSpace) -> None:
    tag_at(space, 0).after = tag_at(space, 4)


def end_an_arena_early(space: CoalescingSpace) -> None:
    tag_at(space, 2).after = space._holes.wall


def go_round_for_ever(space: CoalescingSpace) -> None:
    tag_at(space, 6).after = tag_at(space, 0)


def follow_itself(space: CoalescingSpace) -> None:
    tag_at(space, 12).after = tag_at(space, 12)


def go_on_in_the_next_arena(space: CoalescingSpace) -> None:
    tag_at(space, 6).after = tag_at(space, 8)


def forget_what_is_before(space: CoalescingSpace) -> None:
    tag_at(space, 4).before = space._holes.wall


def begin_an_arena_behind_its_end(space: CoalescingSpace) -> None:
    tag_at(space, 8).before = tag_at(space, 6)


def precede_itself(space: CoalescingSpace) -> None:
    tag_at(space, 16).before = tag_at(space, 16)


def free_a_buffer_in_its_tag_alone(space: CoalescingSpace) -> None:
    tag_at(space, 6).state = FREED


def take_a_hole_in_its_tag_alone(space: CoalescingSpace) -> None:
    tag_at(space, 2).state = BUSY


def give_a_buffer_no_state(space: CoalescingSpace) -> None:
    tag_at(space, 0).state = WALL


def give_a_hole_no_state(space: CoalescingSpace) -> None:
    tag_at(space, 2).state = 7


def cache_a_buffer_in_its_tag_alone(space: CoalescingSpace) -> None:
    tag_at(space, 0).state = CACHED


def add_a_phantom_buffer(space: CoalescingSpace) -> None:
    space._at[17 * PAGE] = Tag(17 * PAGE, PAGE, BUSY)


def add_a_buffer_nowhere(space: CoalescingSpace) -> None:
    space._at[60 * PAGE] = Tag(60 * PAGE, PAGE, BUSY, space._holes.wall, space._holes.wall)


def forget_a_tag(space: CoalescingSpace) -> None:
    del space._at[4 * PAGE]


def forget_the_first_tag(space: CoalescingSpace) -> None:
    del space._at[8 * PAGE]


def find_a_tag_under_another_base(space: CoalescingSpace) -> None:
    space._at[3 * PAGE] = tag_at(space, 4)


def find_another_tag_under_a_base(space: CoalescingSpace) -> None:
    space._at[0] = tag_at(space, 4)


def lose_an_alloc(space: CoalescingSpace) -> None:
    space._holes.takes -= 1


def remember_a_free_that_never_was(space: CoalescingSpace) -> None:
    space._holes.freed.add(40 * PAGE)


def miscount_mapped(space: CoalescingSpace) -> None:
    space._arenas.mapped += PAGE
    space._arenas.peak += PAGE


def shift_by_a_byte(space: CoalescingSpace) -> None:
    # Two neighbouring buffers, with the boundary between them off the quantum; both sums stay.
    low, high = tag_at(space, 4), tag_at(space, 6)
    low.size, high.base, high.size = low.size + 1, high.base + 1, high.size - 1
    del space._at[6 * PAGE]
    space._at[high.base] = high


def remember_a_free_off_the_quantum(space: CoalescingSpace) -> None:
    space.free(space.alloc(2 * PAGE))  # the same buffer as before, so that there is one alloc more than bases
    space._holes.freed.add(PAGE + 1)


def lower_the_limit(space: CoalescingSpace) -> None:
    space._arenas.kva_limit = PAGE


def keep_too_many(space: CoalescingSpace) -> None:
    space._arenas.release = EAGER


CORRUPTIONS: list[tuple[Callable[[CoalescingSpace], None], str]] = [
    (shrink_a_buffer, "I1"),
    (grow_a_buffer, "I1"),
    (cut_a_segment_out, "I1"),
    (unmap_an_arena, "I2"),
    (overlap_arenas, "I2"),
    (leave_holes_apart, "I3"),
    (join_across_arenas, "I4"),
    (open_the_wall, "I4"),
    (leave_out_what_follows, "I5"),
    (end_an_arena_early, "I5"),
    (go_round_for_ever, "I5"),
    (follow_itself, "I5"),
    (go_on_in_the_next_arena, "I5"),
    (forget_what_is_before, "I5"),
    (begin_an_arena_behind_its_end, "I5"),
    (precede_itself, "I5"),
    (free_a_buffer_in_its_tag_alone, "I5"),
    (take_a_hole_in_its_tag_alone, "I5"),
    (give_a_buffer_no_state, "I6"),
    (give_a_hole_no_state, "I6"),
    (cache_a_buffer_in_its_tag_alone, "I6"),
    (add_a_phantom_buffer, "I6"),
    (add_a_buffer_nowhere, "I6"),
    (forget_a_tag, "I6"),
    (forget_the_first_tag, "I6"),
    (find_a_tag_under_another_base, "I6"),
    (find_another_tag_under_a_base, "I6"),
    (lose_an_alloc, "I6"),
    (remember_a_free_that_never_was, "I6"),
    (miscount_mapped, "I7"),
    (shift_by_a_byte, "I8"),
    (remember_a_free_off_the_quantum, "I8"),
    (lower_the_limit, "I9"),
    (keep_too_many, "I10"),
]


@pytest.mark.parametrize(("corrupt", "code"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_each_corruption_is_reported_with_its_code_and_no_other(
    corrupt: Callable[[CoalescingSpace], None], code: str
) -> None:
    """Each corruption is reported with its code, no other code, and a message."""
    space = make()
    corrupt(space)
    assert codes(space) == (code,)
    assert all(violation.message for violation in space.violations())


@pytest.mark.parametrize("link", ["before", "after"])
def test_every_wrong_link_is_found(link: str) -> None:
    """A link that leads to any tag but the neighbour is reported as I5 and nothing else, and the walk ends."""
    space = make()
    tags = list(space._at.values())
    for tag in tags:
        right = getattr(tag, link)
        for wrong in [*tags, space._holes.wall, Tag(2 * PAGE, 2 * PAGE, HOLE)]:
            if wrong is not right:
                setattr(tag, link, wrong)
                assert codes(space) == ("I5",), (hex(tag.base), hex(wrong.base))
        setattr(tag, link, right)
    space.check()


def test_every_wrong_state_is_found() -> None:
    """A tag in a wrong state is reported as I5 or I6, unless it only exchanges the two states of a hole."""
    space = make(cache=1)
    space.free(space.alloc(PAGE))
    for tag in list(space._at.values()):
        right = tag.state
        for wrong in {BUSY, CACHED, HOLE, FREED, WALL, 7} - {right}:
            tag.state = wrong
            if {right, wrong} == {HOLE, FREED}:
                space.check()
            else:
                assert {"I5", "I6"} & set(codes(space)), (hex(tag.base), right, wrong)
        tag.state = right
    space.check()


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.value)
def test_every_index_is_compared(fit: Fit) -> None:
    """For every fit, a hole that is missing or misplaced in the index is reported as I5."""
    space = make(fit)
    holes: Any = space._holes
    if hasattr(holes, "tree"):
        holes.tree.remove(2 * PAGE)
        holes.tree.insert(2 * PAGE, PAGE)
    else:
        hole = tag_at(space, 2)
        del next(bin_ for bin_ in holes.bins.values() if hole in bin_)[hole]
    assert codes(space) == ("I5",)


def test_a_hole_in_the_tree_that_is_none_is_found() -> None:
    """An address in the tree at which no hole begins is reported as I5."""
    for page in (3, 4):
        space = make(Fit.FIRST)
        space._holes.tree.insert(page * PAGE, 2 * PAGE)  # type: ignore[attr-defined]
        assert codes(space) == ("I5",)


def test_a_hole_in_a_wrong_bin_is_found() -> None:
    """A hole in the bin of another class or of another size is reported as I5."""
    classes = make(Fit.INSTANT)
    bins = classes._holes.bins  # type: ignore[attr-defined]
    del bins[1][tag_at(classes, 2)]
    bins[0] = {tag_at(classes, 2): None}
    assert codes(classes) == ("I5",)
    sizes = make()
    bins = sizes._holes.bins  # type: ignore[attr-defined]
    del bins[2 * PAGE][tag_at(sizes, 2)]
    bins[8 * PAGE][tag_at(sizes, 2)] = None
    assert codes(sizes) == ("I5",)


def test_a_list_of_sizes_that_is_not_that_of_the_bins_is_found() -> None:
    """A listed size without a bin, or a bin without its listed size, is reported as I5."""
    space = make()
    space._holes.sizes.append(100 * PAGE)  # type: ignore[attr-defined]
    assert codes(space) == ("I5",)
    space._holes.bins[100 * PAGE] = {}  # type: ignore[attr-defined]
    space.check()  # a bin may be empty
    del space._holes.sizes[0]  # type: ignore[attr-defined]
    assert codes(space) == ("I5",)


def cache_twice(space: CoalescingSpace) -> None:
    space._cache[2 * PAGE].append(space._cache[2 * PAGE][0])


def lose_what_is_cached(space: CoalescingSpace) -> None:
    space._cache[2 * PAGE].pop()


def cache_under_another_size(space: CoalescingSpace) -> None:
    space._cache[PAGE] = [space._cache[2 * PAGE].pop()]


def cache_what_is_live(space: CoalescingSpace) -> None:
    space._cache[2 * PAGE].append(tag_at(space, 0))


def cache_a_tag_of_no_arena(space: CoalescingSpace) -> None:
    space._cache[2 * PAGE].append(Tag(60 * PAGE, 2 * PAGE, CACHED))


def cache_too_much(space: CoalescingSpace) -> None:
    space._quantum_cache = PAGE


def revive_what_is_cached(space: CoalescingSpace) -> None:
    tag_at(space, 2).state = BUSY


@pytest.mark.parametrize(
    "corrupt",
    [
        cache_twice,
        lose_what_is_cached,
        cache_under_another_size,
        cache_what_is_live,
        cache_a_tag_of_no_arena,
        cache_too_much,
        revive_what_is_cached,
    ],
)
def test_the_stacks_hold_what_is_cached_and_nothing_else(corrupt: Callable[[CoalescingSpace], None]) -> None:
    """A cache stack that holds a buffer twice or wrongly, or that lacks a cached buffer, is reported as I6."""
    space = make(cache=2)
    corrupt(space)
    assert codes(space) == ("I6",)


PER_PIPE: list[tuple[Callable[[PerPipeSpace, KernelMap], None], str]] = [
    (lambda _, kernel: kernel.unmap(0, PAGE), "I2"),
    (lambda space, _: setattr(space, "_frees", 5), "I6"),
    (lambda space, _: setattr(space, "_mapped", PAGE), "I7"),
    (lambda space, _: setattr(space, "_kva_limit", PAGE), "I9"),
]


@pytest.mark.parametrize(("corrupt", "code"), PER_PIPE, ids=[code for _, code in PER_PIPE])
def test_the_baselines_corruptions_are_reported(corrupt: Callable[[PerPipeSpace, KernelMap], None], code: str) -> None:
    """Each corruption of the per-pipe baseline is reported with its code and no other."""
    kernel = KernelMap(base=0)
    space = PerPipeSpace(kernel, kva_limit=16 * PAGE)
    space.alloc(PAGE)
    space.alloc(2 * PAGE)
    corrupt(space, kernel)
    assert codes(space) == (code,)


def test_the_baselines_alignment_is_checked() -> None:
    """A buffer of the baseline whose base is off the page is reported as I8."""
    kernel = KernelMap(base=0)
    space = PerPipeSpace(kernel, kva_limit=16 * PAGE)
    space.alloc(2 * PAGE)
    space._buffers = {1: 2 * PAGE - 1}
    space._mapped -= 1
    assert codes(space) == ("I8",)


def test_overlapping_buffers_of_the_baseline_are_found() -> None:
    """Overlapping buffers of the baseline are reported as I2, since each is an arena; one of size 0 is reported as I8."""
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
    """A search tree with a wrong maximum or a broken link is reported as I5."""
    space = make(Fit.FIRST)
    root = space._holes.tree._root  # type: ignore[attr-defined]
    child = root.left or root.right
    if corrupt == "maximum":
        child.largest = 0
    else:
        child.parent = None
    assert codes(space) == ("I5",)


def test_a_hole_in_two_bins_and_bins_that_are_empty_are_found() -> None:
    """A hole in two bins, a size listed twice, an empty class and a stray hole are each reported as I5."""
    twice = make()
    twice._holes.bins[8 * PAGE][tag_at(twice, 2)] = None  # type: ignore[attr-defined]
    assert codes(twice) == ("I5",)
    listed = make()
    listed._holes.sizes.insert(0, listed._holes.sizes[0])  # type: ignore[attr-defined]
    assert codes(listed) == ("I5",)
    classes = make(Fit.CLASS_BEST)
    classes._holes.bins[77] = {}  # type: ignore[attr-defined]
    assert codes(classes) == ("I5",)
    stray = make(Fit.CLASS_BEST)
    stray._holes.bins[1][Tag(100 * PAGE, 2 * PAGE, HOLE)] = None  # type: ignore[attr-defined]
    assert codes(stray) == ("I5",)


@pytest.mark.parametrize(("name", "value"), [("peak", 0), ("imports", 9), ("releases", 9)])
def test_figures_about_arenas_are_recomputed(name: str, value: int) -> None:
    """A wrong peak or a wrong count of imports or releases is reported as I7."""
    space = make()
    setattr(space._arenas, name, value)
    assert codes(space) == ("I7",)


def test_a_space_without_its_arenas_is_reported_not_a_crash() -> None:
    """A space that has lost its arenas is reported with I5, I6 and I7, and can still be rendered."""
    space = make()
    space._arenas.size_at.clear()
    assert codes(space) == ("I5", "I6", "I7")
    assert space.render() == "no arena is mapped"


def test_the_oracle_checks_itself() -> None:
    """An oracle whose busy and free quanta overlap, or do not make up its range, is reported as I1."""
    for corruption in ({0: 3, 2: 2}, {0: 2}, {0: 2, 2: 2, 7: 1}):
        oracle = CellSpace(8, quantum=1)
        oracle.alloc(2)
        oracle.alloc(2)
        oracle.check()
        oracle._busy = corruption
        assert codes(oracle) == ("I1",)
    short = CellSpace(8, quantum=1)
    short.alloc(8)
    short._busy = {0: 7}
    assert codes(short) == ("I1",)


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


def corrupt_first_free(kernel: KernelMap) -> None:
    kernel._first_free = kernel._by_start[4 * PAGE]


MAP: list[tuple[Callable[[KernelMap], None], str]] = [
    (corrupt_first_free, "lowest gap"),
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
    """Each corruption of the map is reported as MI1, with a message that names what is wrong."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    for _ in range(4):
        kernel.map(2 * PAGE)
    kernel.unmap(2 * PAGE, 2 * PAGE)
    kernel.check()
    corrupt(kernel)
    assert codes(kernel) == ("MI1",)
    assert any(words in violation.message for violation in kernel.violations())
