"""The index of holes that best fit keeps: by size, the newest first."""

from __future__ import annotations

from coalloc import CoalescingSpace, KernelMap

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


def test_an_arena_that_is_mapped_for_one_buffer_becomes_that_buffer() -> None:
    """The hole that it begins as is taken whole, and comes back when the buffer is freed."""
    space = CoalescingSpace(KernelMap(), kva_limit=16 * PAGE, arena_size=4 * PAGE)
    base = space.alloc(8 * PAGE)
    assert (space.stats().holes, space.stats().mapped) == (0, 8 * PAGE)
    space.free(base)
    assert (space.stats().holes, space.stats().largest_hole) == (1, 8 * PAGE)
    space.check()
