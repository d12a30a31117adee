"""Corrupt one field of the other designs: check() reports exactly that invariant's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import (
    BuddySpace,
    CachedSpace,
    CoalescingSpace,
    Extent,
    InvariantViolation,
    KernelMap,
    Kind,
    LinuxPipes,
    PerPipeSpace,
    VmemSpace,
)

PAGE = 4096


def codes(of: Any) -> tuple[str, ...]:
    """Return the codes that check() reports."""
    with pytest.raises(InvariantViolation) as caught:
        of.check()
    return caught.value.codes


def buddy() -> Any:
    """Make two busy arenas of 8 pages and an idle one, with free and busy blocks of 1, 2 and 4 pages."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    space = BuddySpace(kernel, kva_limit=64 * PAGE, arena_size=8 * PAGE)
    bases = [space.alloc(n * PAGE) for n in (1, 2, 4, 1, 4, 4, 8)]
    space.free(bases[0])
    space.free(bases[6])
    space.check()
    return space


def buddy_loses_a_block(space: Any) -> None:
    space._blocks[PAGE].bases.remove(0)
    del space._blocks[PAGE]


def buddy_keeps_buddies_apart(space: Any) -> None:
    space.free(next(base for base, size in space._busy.items() if size == 2 * PAGE))
    space._strike(2 * PAGE, 2 * PAGE)
    space._enter(2 * PAGE, PAGE)
    space._enter(3 * PAGE, PAGE)


def buddy_keeps_an_empty_list(space: Any) -> None:
    space._blocks[64 * PAGE] = type(space._blocks[PAGE])()


def buddy_forgets_to_queue(space: Any) -> None:
    space._blocks[PAGE].queue.remove(0)


def buddy_misaligns(space: Any) -> None:
    # A free block of two pages that begins at an odd page: the page before it is busy instead.
    size = space._busy.pop(4 * PAGE)
    space._busy[4 * PAGE] = PAGE
    space._enter(5 * PAGE, 2 * PAGE)
    space._busy[7 * PAGE] = size - 3 * PAGE
    space._allocs += 1
    space._in_use[0] -= 2 * PAGE


def set_(name: str, value: Any) -> Callable[[Any], None]:
    """Corrupt one field."""
    return lambda of: setattr(of, name, value)


BUDDY: list[tuple[str, Callable[[Any], None]]] = [
    ("I1", buddy_loses_a_block),
    ("I3", buddy_keeps_buddies_apart),
    ("I5", buddy_keeps_an_empty_list),
    ("I5", buddy_forgets_to_queue),
    ("I8", buddy_misaligns),
    ("I6", set_("_frees", 9)),
    ("I7", lambda space: space._in_use.update({0: 1})),
    ("I7", lambda space: setattr(space._arenas, "mapped", 1)),
    ("I7", lambda space: setattr(space._arenas, "peak", 1)),
    ("I7", lambda space: setattr(space._arenas, "imports", 9)),
    ("I9", lambda space: setattr(space._arenas, "kva_limit", PAGE)),
    ("I10", lambda space: setattr(space._arenas, "release", type(space._arenas.release)(0))),
    ("I2", lambda space: space._arenas.source.unmap(0, 8 * PAGE)),
]


@pytest.mark.parametrize(("code", "corrupt"), BUDDY, ids=[f"{n}-{code}" for n, (code, _) in enumerate(BUDDY)])
def test_each_corruption_of_a_buddy_space_is_reported(code: str, corrupt: Callable[[Any], None]) -> None:
    """Each corruption of a buddy space is reported with its code and no other."""
    space = buddy()
    corrupt(space)
    assert codes(space) == (code,)


def test_overlapping_arenas_and_crossing_segments_are_found() -> None:
    """An arena that is told too large is reported as I2, and one that is told too small as I4."""
    space = buddy()
    space._arenas.size_at[0] = 9 * PAGE
    assert "I2" in codes(space)
    space = buddy()
    space._arenas.size_at[0] = 7 * PAGE
    assert "I4" in codes(space)


def vmem() -> Any:
    """Make a static span and an imported one, with busy, cached and free segments."""
    space = VmemSpace(KernelMap(base=0, size=64 * PAGE), kva_limit=64 * PAGE, import_quantum=16 * PAGE, qcache_max=PAGE)
    space.add(Extent(1 << 30, 4 * PAGE))
    bases = [space.alloc(n * PAGE) for n in (4, 2, 1, 3, 2)]
    space.free(bases[1])
    space.free(bases[2])
    space.check()
    return space


def tags(space: Any, kind: Kind) -> list[Any]:
    """Return the tags of a kind, by address."""
    return [tag for tag in space._tags() if tag.kind is kind]


def vmem_breaks_a_link(space: Any) -> None:
    tags(space, Kind.BUSY)[0].before = None


def vmem_leaves_neighbours_apart(space: Any) -> None:
    tag = tags(space, Kind.FREE)[-1]
    space._carve(tag, tag.start, 2 * PAGE)
    del space._busy[tag.start]
    tag.kind = Kind.FREE
    space._enter(tag)


def vmem_moves_a_tag_to_another_class(space: Any) -> None:
    tag = tags(space, Kind.FREE)[0]
    space._strike(tag)
    space._lists[33] = {tag: None}


def vmem_forgets_a_free_tag(space: Any) -> None:
    space._strike(tags(space, Kind.FREE)[0])


VMEM: list[tuple[str, Callable[[Any], None]]] = [
    ("I1", lambda space: setattr(tags(space, Kind.BUSY)[1], "size", PAGE)),
    ("I3", vmem_leaves_neighbours_apart),
    ("I5", vmem_breaks_a_link),
    ("I5", vmem_moves_a_tag_to_another_class),
    ("I5", vmem_forgets_a_free_tag),
    ("I6", lambda space: space._busy.popitem()),
    ("I6", lambda space: space._cache.clear()),
    ("I6", set_("_allocs", 50)),
    ("I2", lambda space: space._static.update({1 << 31: PAGE})),
    ("I9", set_("_bound", 18 * PAGE)),
]


@pytest.mark.parametrize(("code", "corrupt"), VMEM, ids=[f"{n}-{code}" for n, (code, _) in enumerate(VMEM)])
def test_each_corruption_of_a_vmem_space_is_reported(code: str, corrupt: Callable[[Any], None]) -> None:
    """Each corruption of a vmem space is reported with its code, perhaps among others."""
    space = vmem()
    corrupt(space)
    assert code in codes(space)


def test_a_segment_told_in_another_arena_is_found() -> None:
    """A segment whose tag names another span is reported as I4."""
    space = vmem()
    tags(space, Kind.BUSY)[1].span = next(iter(space._spans.values()))
    assert "I4" in codes(space)


def cached() -> Any:
    """Make a cache with two live buffers and one cached buffer."""
    space = CachedSpace(PerPipeSpace(KernelMap(), kva_limit=1 << 20), sizes=[PAGE])
    bases = [space.alloc(PAGE) for _ in range(3)]
    space.free(bases[0])
    space.check()
    return space


CACHED: list[Callable[[Any], None]] = [
    lambda space: space._kept.clear(),
    lambda space: space._stacks[0][PAGE].append(space._stacks[0][PAGE][0]),
    lambda space: space._below.free(space._stacks[0][PAGE][0]),
    set_("_frees", 9),
]


@pytest.mark.parametrize("corrupt", CACHED)
def test_each_corruption_of_a_cache_is_i6(corrupt: Callable[[Any], None]) -> None:
    """Each disagreement between a cache and the space below it is reported as I6."""
    space = cached()
    corrupt(space)
    assert codes(space) == ("I6",)


def test_what_is_broken_below_is_told_above() -> None:
    """The check of a cached space reports a violation of the space below with its own code."""
    space = cached()
    space._below._mapped += PAGE
    assert codes(space) == ("I7",)


def linux() -> Any:
    """Make two Linux pipes with data."""
    size = 64 * PAGE
    system = LinuxPipes(CoalescingSpace(KernelMap(base=0, size=size), kva_limit=size, arena_size=size))
    for _ in range(2):
        system.pipe().write(1, 5000)
    system.check()
    return system


def pipe_of(system: Any) -> Any:
    """Return the first pipe."""
    return next(iter(system._pipes.values()))


LINUX: list[tuple[str, Callable[[Any], None]]] = [
    ("PI1", set_("_pages", 9)),
    ("PI1", lambda system: system._slots.clear()),
    ("PI2", lambda system: setattr(pipe_of(system).halves[0].ring.slots[1], "start", 4000)),
    ("PI3", lambda system: setattr(pipe_of(system), "bytes_out", 7)),
]


@pytest.mark.parametrize(("code", "corrupt"), LINUX, ids=[f"{n}-{code}" for n, (code, _) in enumerate(LINUX)])
def test_each_corruption_of_linux_pipes_is_reported(code: str, corrupt: Callable[[Any], None]) -> None:
    """Each corruption of Linux pipes is reported with its code and no other."""
    system = linux()
    corrupt(system)
    assert codes(system) == (code,)


def test_a_ring_that_counts_wrong_breaks_pi2_and_pi3() -> None:
    """A ring with a wrong byte count is reported as both PI2 and PI3."""
    system = linux()
    pipe_of(system).halves[0].ring.cnt += 1
    assert codes(system) == ("PI2", "PI3")


def test_a_vmem_span_that_overlaps_and_a_segment_off_the_quantum_are_found() -> None:
    """A segment whose size is off the quantum is reported as I1 and I8."""
    space = vmem()
    free = tags(space, Kind.FREE)[-1]
    free.size -= 1
    found = codes(space)
    assert {"I1", "I8"} <= set(found)
