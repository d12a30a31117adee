"""The words of the reference: of each broken invariant, and of each argument that is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import CoalescingSpace, Extent, Fit, InvalidRequestError, KernelMap
from coalloc.contract import EAGER, RETAIN, Coalescing, Completeness, Constraint, Contract, Resize, Tie, Work
from coalloc.space.holes import AddressHoles, ClassHoles, SizeHoles, Tag, make_holes
from tests.checker import test_space as broken
from tests.checker.test_space import PAGE, make, tag_at

SEVERAL = "the table of tags holds other segments than the arenas"


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (broken.leave_holes_apart, ["I3: 0x10000+16384 and what follows are both free"]),
        (broken.open_the_wall, ["I4: the wall between arenas has the state of a segment"]),
        (broken.leave_out_what_follows,
         ["I5: the tag behind 0x0 is not linked back", "I5: the tag of 0x2000 is left out by its neighbours"]),
        (broken.end_an_arena_early, ["I5: the tag of 0x4000 is left out by its neighbours"]),
        (broken.go_round_for_ever, ["I5: the tag behind 0x6000 is not linked back"]),
        (broken.begin_an_arena_behind_its_end, ["I5: the tag before 0x8000 is not linked back"]),
        (broken.precede_itself, ["I5: the tag before 0x10000 is not linked back"]),
        (broken.free_a_buffer_in_its_tag_alone, ["I5: the index holds other holes than the arenas"]),
        (broken.give_a_hole_no_state, ["I6: the tag of 0x2000 has the state 7"]),
        (broken.add_a_phantom_buffer, [f"I6: {SEVERAL}"]),
        (broken.forget_a_tag, [f"I6: {SEVERAL}"]),
        (broken.cache_a_buffer_in_its_tag_alone, ["I6: the stacks hold other buffers than those that are cached"]),
        (broken.lose_an_alloc, ["I6: 11 allocs have handed out 12 different bases"]),
        (broken.remember_a_free_off_the_quantum, ["I8: the freed base 0x1001 is no multiple of the quantum 4096"]),
    ],
)  # fmt: skip
def test_each_broken_invariant_is_said_in_these_words(corrupt: Callable[[Any], None], said: list[str]) -> None:
    """And in no others."""
    space = make()
    corrupt(space)
    assert [str(violation) for violation in space.violations()] == said


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (broken.cache_twice, "the stacks hold other buffers than those that are cached"),
        (broken.cache_under_another_size, "a buffer is on the stack of another size"),
        (broken.cache_too_much, "more is cached than a cache may hold"),
    ],
)
def test_each_wrong_stack_is_said_in_these_words(corrupt: Callable[[Any], None], said: str) -> None:
    """And in no others."""
    space = make(cache=2)
    corrupt(space)
    assert [str(violation) for violation in space.violations()] == [f"I6: {said}"]


def test_each_wrong_index_is_said_in_these_words() -> None:
    """Of sizes, of classes, and of addresses."""
    sizes = SizeHoles()
    sizes.add(0, 8)
    sizes.bins[9] = {}
    assert sizes.index_faults() == ["the list of sizes differs from the bins"]
    sizes.sizes.append(9)
    assert sizes.index_faults() == []
    sizes.bins[9][sizes.at[0]] = None
    assert sizes.index_faults() == ["hole 0x0+8 is in the bin of 9"]
    classes = ClassHoles(4, instant=False)
    classes.add(0, 8)
    assert classes.index_faults() == []
    classes.bins[5] = {}
    classes.bins[6] = {classes.at[0]: None, Tag(4, 3, 1): None}
    assert classes.index_faults() == [
        "the bin of class 5 is empty", "hole 0x0 is in the bin of class 6", "hole 0x4 is in the bin of class 6",
    ]  # fmt: skip
    tree = AddressHoles()
    tree.add(0, 8)
    tree.tree.insert(16, 8)
    assert tree.index_faults() == []
    tree.at[0].size = 9
    assert tree.index_faults() == ["hole 0x0 has 8 bytes in the tree"]


def test_tags_are_found_by_links_and_where_those_are_wrong_by_the_table() -> None:
    """Each with the base of its arena, or of the nearest below it."""
    space = make()
    holes = space._holes
    pages = [(tag.base // PAGE, arena // PAGE) for tag, arena in holes.linked([0, 8 * PAGE, 16 * PAGE])[0]]
    assert pages == [(0, 0), (2, 0), (4, 0), (6, 0), (8, 8), (10, 8), (12, 8), (14, 8), (16, 16)]
    assert holes.linked([])[0] == []
    assert [tag.base // PAGE for tag in holes.arena(8 * PAGE)] == [8, 10, 12, 14]
    assert list(holes.arena(PAGE)) == []
    tag_at(space, 0).after = tag_at(space, 4)
    found, faults = holes.linked([4 * PAGE, 16 * PAGE])
    assert len(faults) >= 1
    assert [(tag.base // PAGE, arena // PAGE) for tag, arena in found] == [
        (0, 4), (2, 4), (4, 4), (6, 4), (8, 4), (10, 4), (12, 4), (14, 4), (16, 16),
    ]  # fmt: skip
    assert [tag.end - tag.base for tag in (Tag(3, 5, 0), Tag(0, 1, 0))] == [5, 1]
    alone = Tag(3, 5, 0)
    assert alone.before is alone.after is alone


def test_the_index_that_each_fit_has() -> None:
    """By size, by class or by address; next fit alone has a cursor."""
    kinds = {fit: make_holes(fit, 4) for fit in (Fit.BEST, Fit.INSTANT, Fit.CLASS_BEST, Fit.FIRST, Fit.NEXT)}
    assert [type(holes) for holes in kinds.values()] == [SizeHoles, ClassHoles, ClassHoles, AddressHoles, AddressHoles]
    for holes in kinds.values():
        assert (holes.largest, holes.visits, holes.takes, holes.coalesces, list(holes)) == (0, 0, 0, 0, [])
        assert (holes.wall.base, holes.wall.size, holes.wall.state) == (-1, 0, -2)
        holes.add(0, 160)
        assert holes.largest == 160


def test_the_words_of_every_refused_argument() -> None:
    """The error names the argument, its value and what it must be."""
    for arguments, reason in (
        ({"quantum_cache": PAGE + 1}, "must be 0 or a multiple of the quantum 4096"),
        ({"quantum_cache": -PAGE}, "must be 0 or a multiple of the quantum 4096"),
        ({"quantum_cache": 0.0}, "must be 0 or a multiple of the quantum 4096"),
        ({"fit": Fit.LAST}, "must be Fit.BEST, FIRST, NEXT, INSTANT or CLASS_BEST"),
        ({"fit": "best"}, "must be Fit.BEST, FIRST, NEXT, INSTANT or CLASS_BEST"),
    ):
        given: dict[str, Any] = {"kva_limit": 64 * PAGE, **arguments}
        with pytest.raises(InvalidRequestError) as caught:
            CoalescingSpace(KernelMap(), **given)
        assert (caught.value.what, caught.value.value) == next(iter(arguments.items()))
        assert caught.value.reason == reason
    with pytest.raises(InvalidRequestError) as caught:
        CoalescingSpace(KernelMap(), kva_limit=64 * PAGE, arena_size=PAGE + 1)
    assert (caught.value.what, caught.value.value) == ("arena_size", PAGE + 1)
    space = make()
    for extent in (Extent(PAGE + 1, PAGE), Extent(PAGE, PAGE + 1), (PAGE, PAGE)):
        with pytest.raises(InvalidRequestError) as caught:
            space.reserve(extent)  # type: ignore[arg-type]
        assert (caught.value.what, caught.value.value) == ("extent", str(extent))
        assert caught.value.reason == "must be an Extent aligned to the quantum 4096"


def test_a_space_as_it_is_made_without_arguments() -> None:
    """Best fit in arenas of 4 MiB, in pages, of which one idle one is kept; nothing is cached."""
    space = CoalescingSpace(KernelMap(), kva_limit=32 << 20)
    assert space.contract == Contract(
        fit=Fit.BEST, completeness=Completeness.EXACT, coalescing=Coalescing.IMMEDIATE, release=RETAIN(1),
        constraints=frozenset(Constraint), resize=Resize.IN_PLACE, tie=Tie.NEWEST, work=Work.CONSTANT,
    )  # fmt: skip
    bases = [space.alloc(1), space.alloc(1)]
    assert (space.quantum, space.kva_limit, space.stats().mapped) == (PAGE, 32 << 20, 4 << 20)
    assert bases[1] - bases[0] == PAGE
    lines = space.render().split("\n")
    assert len(lines) == 1
    assert lines[0].count(".") == 63
    assert space.render(32).count(".") == 31
    for base in bases:
        space.free(base)
    assert (space.stats().mapped, space.stats().cached) == (4 << 20, 0)
    cached = CoalescingSpace(KernelMap(), kva_limit=32 << 20, quantum_cache=PAGE, fit=Fit.FIRST, release=EAGER)
    assert (cached.contract.coalescing, cached.contract.tie, cached.contract.work) == (
        Coalescing.DEFERRED,
        None,
        Work.LOG,
    )
    base = cached.alloc(2 * PAGE)
    cached.touch(base, PAGE)
    source: Any = cached._arenas.source
    assert source.counters().resident == PAGE
    cached.discard(base, PAGE)
    assert source.counters().resident == 0
