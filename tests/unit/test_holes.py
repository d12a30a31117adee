"""The index of holes that best fit keeps: by size, the newest first."""

from __future__ import annotations

from coalloc import CoalescingSpace, KernelMap
from coalloc.space.holes import ClassHoles, SizeHoles, size_class

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


def test_instant_fit_begins_with_the_class_whose_members_all_suffice() -> None:
    """The request's own where it is the smallest member, else the next; then all that may suffice."""
    for n in (1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1 << 40):
        holes = ClassHoles(4, instant=True)
        assert holes.visits == 0
        own, above = size_class(n), size_class(n) + 1
        holes.add(0, 4 * n)
        larger = next(m for m in (n + 1, 64, 128, 256, 1 << 41) if size_class(m) == above)
        holes.add(1 << 50, 4 * larger)
        found = [(hole.size // 4, holes.visits) for hole in holes.candidates(4 * n)]
        smallest = (own < 32 and n <= 32) or n.bit_count() == 1
        assert found == ([(n, 1), (larger, 2), (n, 3), (larger, 4)] if smallest else [(larger, 1), (n, 2), (larger, 3)])
        assert holes.largest == 4 * larger
