"""The kernel map: entries, searches, faults and counters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import BadFreeError, InvalidRequestError, KernelMap, NoSpaceError
from coalloc.errors import Change, Remedy, Rule
from coalloc.vm.kernelmap import Findspace
from tests.behaviours.designs import map_own

PAGE = 4096


def pages(kernel: KernelMap) -> list[tuple[int, int]]:
    """Return the entries as (first page, number of pages) from the map's base."""
    return [((entry.base - kernel.base) // PAGE, entry.size // PAGE) for entry in kernel.entries()]


@pytest.mark.parametrize(
    "arguments",
    [
        {"page_size": 3000}, {"page_size": 0}, {"base": 1}, {"base": -PAGE}, {"size": 100}, {"size": 0}, {"cpus": 0},
        {"cpus": True}, {"direct": 1}, {"own_objects": 1}, {"findspace": "hash"}, {"page_size": 4096.0}, {"base": 1.5},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    """A bad argument of the constructor is refused by its name."""
    with pytest.raises(InvalidRequestError) as caught:
        KernelMap(**arguments)
    assert caught.value.what == next(iter(arguments))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, 2**64])
def test_bad_sizes_are_refused(size: Any) -> None:
    """A bad size is refused and nothing is counted."""
    kernel = KernelMap()
    before = kernel.counters()
    with pytest.raises(InvalidRequestError):
        kernel.map(size)
    assert kernel.counters() == before


def test_sizes_are_rounded_to_pages() -> None:
    """Mapping one byte maps a page."""
    kernel = KernelMap(base=0)
    kernel.map(1)
    assert kernel.counters().mapped == PAGE
    assert kernel.granule == PAGE


@pytest.mark.parametrize("findspace", ["tree", "linear"])
def test_a_full_map_refuses_and_explains(findspace: Findspace) -> None:
    """A full map names every gap and offers the size of the largest."""
    kernel = KernelMap(base=0, size=8 * PAGE, findspace=findspace)
    bases = [kernel.map(PAGE) for _ in range(8)]
    for base in bases[1:4:2]:
        kernel.unmap(base, PAGE)
    kernel.unmap(bases[5], 2 * PAGE)
    with pytest.raises(NoSpaceError) as caught:
        kernel.map(3 * PAGE)
    error = caught.value
    assert (error.request, error.free, error.largest_hole) == (3 * PAGE, 4 * PAGE, 2 * PAGE)
    explanation = error.explain()
    assert [(v.base, v.size, v.rule) for v in explanation.verdicts] == [
        (PAGE, PAGE, Rule.SIZE), (3 * PAGE, PAGE, Rule.SIZE), (5 * PAGE, 2 * PAGE, Rule.SIZE),
    ]  # fmt: skip
    assert explanation.remedies == (Remedy(Change.SIZE, 2 * PAGE),)
    assert kernel.counters().map_failures == 1
    assert kernel.available() == 2 * PAGE
    kernel.map(2 * PAGE)
    kernel.map(PAGE)
    kernel.map(PAGE)
    with pytest.raises(NoSpaceError) as caught:
        kernel.map(PAGE)
    assert caught.value.explain().remedies == ()


@pytest.mark.parametrize(("base", "size"), [(PAGE, 2 * PAGE), (0, 3 * PAGE), (3 * PAGE, PAGE), (100 * PAGE, PAGE)])
def test_unmapping_what_is_not_mapped_changes_nothing(base: int, size: int) -> None:
    """unmap, discard and touch refuse a range that is not wholly mapped, and change nothing."""
    kernel = KernelMap(base=0, size=16 * PAGE)
    kernel.map(2 * PAGE)
    before = kernel.entries(), kernel.counters()
    for call in (kernel.unmap, kernel.discard):
        with pytest.raises(BadFreeError):
            call(base, size)
    with pytest.raises(BadFreeError):
        kernel.touch(base, size)
    assert (kernel.entries(), kernel.counters()) == before


@pytest.mark.parametrize(("base", "size"), [(1, PAGE), (0, 100), (0, 0), (0.0, PAGE), (0, -PAGE)])
def test_ranges_are_page_aligned(base: Any, size: Any) -> None:
    """Unmapping a range that is not made of whole pages is refused."""
    kernel = KernelMap(base=0)
    kernel.map(PAGE)
    with pytest.raises(InvalidRequestError):
        kernel.unmap(base, size)


def test_any_part_can_be_unmapped() -> None:
    """Unmapping a range across entries clips them and keeps the rest."""
    kernel = KernelMap(base=0, size=32 * PAGE)
    for _ in range(3):
        map_own(kernel, 4 * PAGE)
    kernel.unmap(2 * PAGE, 8 * PAGE)
    assert pages(kernel) == [(0, 2), (10, 2)]
    kernel.check()
    assert [entry.offset for entry in kernel.entries()] == [0, 2 * PAGE]
    counters = kernel.counters()
    assert (counters.entries, counters.mapped) == (2, 4 * PAGE)


def test_freeing_the_last_buffer_shrinks_the_entry_and_the_next_one_extends_it() -> None:
    """Unmapping the last buffer and mapping another leaves one entry."""
    kernel = KernelMap(base=0)
    for _ in range(3):
        kernel.map(PAGE)
    kernel.unmap(2 * PAGE, PAGE)
    assert pages(kernel) == [(0, 2)]
    kernel.map(PAGE)
    assert pages(kernel) == [(0, 3)]
    kernel.check()


def test_an_extended_entry_is_merged_with_the_one_behind_it() -> None:
    """Filling the gap between two entries without objects merges both into one entry."""
    kernel = KernelMap(base=0)
    first = kernel.map(PAGE)
    wedge = map_own(kernel, PAGE)
    kernel.map(PAGE)
    kernel.unmap(wedge, PAGE)
    before = kernel.counters()
    assert kernel.map(PAGE) == first + PAGE
    after = kernel.counters()
    assert pages(kernel) == [(0, 3)]
    assert (after.entry_merges - before.entry_merges, after.entries_freed - before.entries_freed) == (2, 1)
    kernel.check()


def test_pieces_of_one_object_merge_again_where_offsets_run_on() -> None:
    """Two entries that share an object merge when the gap is filled and their offsets run on."""
    kernel = KernelMap(base=0)
    kernel.map(PAGE)
    kernel.touch(0, PAGE)
    entry = kernel._by_start[0]
    assert entry.object is not None
    # A second piece of the same object, with one page between, as if a page in the middle had been cut out.
    map_own(kernel, PAGE)
    kernel.map(PAGE)
    other = kernel._by_start[2 * PAGE]
    other.object, other.offset = entry.object, 2 * PAGE
    entry.object.references, entry.object.size = 2, PAGE
    kernel.unmap(PAGE, PAGE)
    kernel.map(PAGE)
    assert pages(kernel) == [(0, 3)]
    assert entry.object.references == 1
    kernel.check()


def test_touch_faults_each_page_once_and_unmap_frees_what_was_touched() -> None:
    """Each page faults once, and freeing a range with resident pages costs one shoot-down."""
    kernel = KernelMap(base=0, cpus=4)
    kernel.map(4 * PAGE)
    kernel.touch(PAGE + 5, PAGE)
    kernel.touch(PAGE, 2 * PAGE)
    assert kernel.counters().faults == 2
    kernel.discard(0, PAGE)
    assert (kernel.counters().tlb_shootdowns, kernel.counters().discard_ops) == (0, 1)
    kernel.discard(PAGE, PAGE)
    kernel.touch(PAGE, 1)
    kernel.unmap(0, 4 * PAGE)
    counters = kernel.counters()
    assert (counters.faults, counters.pages_freed, counters.tlb_shootdowns, counters.ipis) == (3, 3, 2, 6)
    assert (counters.resident, counters.peak_resident, counters.peak_mapped) == (0, 2 * PAGE, 4 * PAGE)
    kernel.check()


@pytest.mark.parametrize(("base", "size"), [(0, 0), (0, -1), (0, True), (0, 1.5), (0.0, 1), (True, 1)])
def test_a_touch_needs_an_address_and_a_positive_size(base: Any, size: Any) -> None:
    """A touch with a bad address or size is refused, and nothing faults."""
    kernel = KernelMap(base=0)
    kernel.map(PAGE)
    with pytest.raises(InvalidRequestError):
        kernel.touch(base, size)
    assert kernel.counters().faults == 0


def test_the_peak_of_entries_counts_pieces_that_an_unmap_clips_off() -> None:
    """Unmapping a middle buffer counts three entries at the peak and leaves two."""
    kernel = KernelMap()
    bases = [kernel.map(PAGE) for _ in range(3)]
    kernel.unmap(bases[1], PAGE)
    assert (kernel.counters().entries, kernel.counters().peak_entries) == (2, 3)


def test_maps_and_available_tell_the_state() -> None:
    """maps() tells whether a range is mapped, and available() the size of the largest gap."""
    kernel = KernelMap(base=0, size=8 * PAGE)
    kernel.map(2 * PAGE)
    assert kernel.maps(0, 2 * PAGE)
    assert not kernel.maps(0, 3 * PAGE)
    assert not kernel.maps(4 * PAGE, PAGE)
    assert kernel.available() == 6 * PAGE


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["map", "own", "unmap", "touch", "discard"]), st.integers(0, 31), st.integers(1, 6)),
    max_size=40,
)


@given(OPERATIONS)
def test_tree_and_list_agree_and_the_model_of_pages_agrees_with_both(operations: list[tuple[str, int, int]]) -> None:
    """Both searches give the lowest base that fits, and mapped and resident pages are those of a set."""
    tree = KernelMap(base=0, size=32 * PAGE)
    linear = KernelMap(base=0, size=32 * PAGE, findspace="linear")
    mapped: set[int] = set()
    resident: set[int] = set()
    for what, page, n in operations:
        wanted = set(range(page, page + n))
        for kernel in (tree, linear):
            kernel.own_objects = what == "own"
        if what in ("map", "own"):
            lowest = next((p for p in range(33 - n) if not mapped & set(range(p, p + n))), None)
            for kernel in (tree, linear):
                if lowest is None:
                    with pytest.raises(NoSpaceError):
                        kernel.map(n * PAGE)
                else:
                    assert kernel.map(n * PAGE) == lowest * PAGE
            if lowest is not None:
                mapped |= set(range(lowest, lowest + n))
        elif not wanted <= mapped:
            for kernel in (tree, linear):
                with pytest.raises(BadFreeError):
                    getattr(kernel, what)(page * PAGE, n * PAGE)
        else:
            for kernel in (tree, linear):
                getattr(kernel, what)(page * PAGE, n * PAGE)
            resident = resident | wanted if what == "touch" else resident - wanted
            mapped = mapped - wanted if what == "unmap" else mapped
        for kernel in (tree, linear):
            kernel.check()
            counters = kernel.counters()
            assert counters.mapped == len(mapped) * PAGE
            assert counters.resident == len(resident) * PAGE
            assert counters.entries == len(kernel.entries())
            assert counters.entries_allocated - counters.entries_freed == counters.entries
            assert counters.faults - counters.pages_freed == len(resident)
            assert counters.lock_acquisitions == counters.map_ops + counters.map_failures + counters.unmap_ops
        assert tree.entries() == linear.entries()


def test_pages_of_a_direct_map_need_no_fault_and_no_shoot_down() -> None:
    """A direct map counts resident pages, but no faults and no shoot-downs."""
    kernel = KernelMap(base=0, size=1 << 20, direct=True)
    base = kernel.map(1 << 20)
    kernel.touch(base, 8192)
    assert (kernel.counters().resident, kernel.counters().faults) == (8192, 0)
    kernel.discard(base, 8192)
    assert (kernel.counters().resident, kernel.counters().tlb_shootdowns) == (0, 0)


def test_a_map_may_lie_at_the_top_of_the_address_space_and_no_higher() -> None:
    """A map may end at 2**64, where amd64 has its kernel, and not above."""
    top = 2**64 - (1 << 20)
    kernel = KernelMap(base=top, size=1 << 20)
    assert kernel.map(1 << 20) == top
    with pytest.raises(InvalidRequestError):
        KernelMap(base=top, size=1 << 21)
