"""The index of holes that best fit keeps: by size, the newest first."""

from __future__ import annotations

from coalloc import CoalescingSpace, KernelMap
from coalloc.space.holes import SizeHoles

PAGE = 4096


def test_a_hole_of_just_the_size_is_taken_whole() -> None:
    """No hole is left of it, and one of another size stays as it is."""
    space = CoalescingSpace(KernelMap(), kva_limit=16 * PAGE, arena_size=16 * PAGE)
    first, _, third, _ = (space.alloc(n * PAGE) for n in (2, 1, 3, 10))
    space.free(first)
    space.free(third)
    assert space.stats().holes == 2
    assert space.alloc(3 * PAGE) == third
    assert space.stats().holes == 1
    assert space.alloc(PAGE) == first
    assert space.alloc(PAGE) == first + PAGE
    assert space.stats().holes == 0
    space.check()


def test_the_index_gives_what_is_smallest_and_leaves_the_rest() -> None:
    """A hole of just the size goes whole; of a larger one the low end goes; where none suffices, nothing does."""
    holes = SizeHoles()
    for base, n in ((0, 8), (16 * PAGE, 4), (32 * PAGE, 4)):
        holes.add(base, n * PAGE)
    taken = [holes.take(n * PAGE) for n in (4, 3, 8, 2)]
    assert [(tag.base, tag.size) if tag is not None else None for tag in taken] == [
        (32 * PAGE, 4 * PAGE),
        (16 * PAGE, 3 * PAGE),
        (0, 8 * PAGE),
        None,
    ]
    assert [(hole.base, hole.size) for hole in holes] == [(19 * PAGE, PAGE)]
    assert holes.index_faults() == []
