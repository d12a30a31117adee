"""A fault in a helper that designs round, classify or place with is found: the judge shares none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import EAGER, BuddySpace, CachedSpace, CoalescingSpace, Geometry, PerPipeSpace, VmemSpace
from coalloc.space import buddy, cached, coalescing, holes, perpipe, placement, protocol, refusal, vmem
from coalloc.space.placement import Placement, rounded
from coalloc.testing import SUBJECTS, Subject, check_space, random_program
from coalloc.testing.subject import MakeSpace
from coalloc.units import round_up
from coalloc.vm.fittree import FitTree

PAGE = 4096
PROGRAMS = 200
"""As many as ``coalloc check`` runs."""


def is_found(make_space: MakeSpace) -> bool:
    """Return whether a check finds anything; random programs come first, because they are faster."""
    subject = Subject(make_space)
    if any(random_program(subject, seed)[1] is not None for seed in range(PROGRAMS)):
        return True
    return not check_space(
        make_space, examples=1, checks=("nonsense", "ends", "powers-of-two", "comb", "resizes")
    ).conforms


def nested(source: Any, *, kva_limit: int) -> CoalescingSpace:
    """Make a space that takes its arenas from another space."""
    below = CoalescingSpace(source, kva_limit=kva_limit, arena_size=PAGE, release=EAGER)
    return CoalescingSpace(below, kva_limit=kva_limit, arena_size=PAGE, release=EAGER)


def kept_buddies(source: Any, *, kva_limit: int) -> CachedSpace:
    """Make a cache in front of a buddy space."""
    return CachedSpace(BuddySpace(source, kva_limit=kva_limit, arena_size=16 * PAGE), sizes=[PAGE, 2 * PAGE], depth=4)


def three_as_eight(size: int, quantum: int, geometry: Geometry) -> int:
    """Round a request of three quanta to eight: a fault that once passed as "conforms"."""
    return 8 * quantum if -(-size // quantum) == 3 else rounded(size, quantum, geometry)


def too_few(size: int, quantum: int, geometry: Geometry) -> int:
    """Give a request of more than a quantum one quantum too few."""
    return max(rounded(size, quantum, geometry) - quantum, quantum)


def twice(size: int, quantum: int, geometry: Geometry) -> int:
    """Double every size."""
    return 2 * rounded(size, quantum, geometry)


def one_more(value: int, unit: int) -> int:
    """Round up to one unit too many."""
    return round_up(value, unit) + (unit if value % unit else 0)


def down(value: int, unit: int) -> int:
    """Round down instead of up."""
    return max(value // unit * unit, unit)


def classes_begin_late(n_quanta: int) -> int:
    """Put a power of two into the class below its own."""
    return holes_size_class(n_quanta - (n_quanta > 32 and n_quanta.bit_count() == 1))


def classes_of_three(n_quanta: int) -> int:
    """Put up to three quanta into one class."""
    return 0 if n_quanta <= 3 else holes_size_class(n_quanta)


holes_size_class = holes.size_class

HELPERS: list[tuple[str, object, str, Callable[..., Any], MakeSpace]] = [
    ("rounded, buddy", buddy, "rounded", three_as_eight, BuddySpace),
    ("rounded, buddy, too few", buddy, "rounded", too_few, BuddySpace),
    ("rounded, cache", cached, "rounded", too_few, kept_buddies),
    ("rounded, unmap", protocol, "rounded", twice, nested),
    ("rounded, remedies", refusal, "rounded", too_few, CoalescingSpace),
    ("round_up, reference", coalescing, "round_up", one_more, CoalescingSpace),
    ("round_up, per-pipe", perpipe, "round_up", one_more, PerPipeSpace),
    ("round_up, per-pipe, down", perpipe, "round_up", down, PerPipeSpace),
    ("round_up, vmem", vmem, "round_up", one_more, VmemSpace),
    ("round_up, constrained", placement, "round_up", one_more, CoalescingSpace),
    ("size_class, instant", holes, "size_class", classes_of_three, SUBJECTS["instant-fit"]),
    ("size_class, class-best", holes, "size_class", classes_begin_late, SUBJECTS["class-best-fit"]),
    ("size_class, vmem", vmem, "size_class", classes_of_three, SUBJECTS["vmem"]),
    ("_class_floor, instant", holes, "_class_floor", lambda index: index + 2, SUBJECTS["instant-fit"]),
    ("_class_floor, vmem", VmemSpace, "_class_floor", lambda self: self._free_tags() and 1 << 40, SUBJECTS["vmem"]),
    ("_cut, buddy", buddy, "_cut", lambda base, size, quantum: [(base + at, quantum) for at in range(0, size, quantum)],
     SUBJECTS["buddy"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "faulty", "make_space"), [row[1:] for row in HELPERS], ids=[row[0] for row in HELPERS]
)
def test_a_fault_in_a_helper_is_found(
    where: object, name: str, faulty: Callable[..., Any], make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit finds each fault that is planted in the rounding, the size classes or the blocks."""
    monkeypatch.setattr(where, name, faulty)
    assert is_found(make_space)


def ignores(name: str) -> Callable[[Placement, int, int], int]:
    """Return a Placement.start_in that ignores one constraint."""

    def start_in(self: Placement, base: int, size: int) -> int:
        free = {"align": self.quantum, "phase": 0, "nocross": 0, "lo": 0, "hi": 2**64 - 1}
        changed = {name: free[name]} | ({"phase": 0} if name == "align" else {})
        fields = {field: getattr(self, field) for field in ("size", "quantum", *free)}
        return original_start_in(Placement(**(fields | changed)), base, size)

    return start_in


original_start_in = Placement.start_in


@pytest.mark.parametrize("constraint", ["align", "phase", "nocross", "lo", "hi"])
@pytest.mark.parametrize("name", ["coalescing", "first-fit", "vmem"])
def test_a_constraint_that_placement_ignores_is_missed(
    constraint: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit finds that placement ignores a constraint, in each design that uses it."""
    monkeypatch.setattr(Placement, "start_in", ignores(constraint))
    assert is_found(SUBJECTS[name])


@pytest.mark.parametrize(
    "faulty",
    [
        lambda self, base, size: original_start_in(self, base + self.quantum, size - self.quantum) if size > self.size
        else original_start_in(self, base, size),
        lambda self, base, size: original_start_in(self, base, size - self.quantum),
        lambda self, base, size: max(original_start_in(self, base, size), base) if size >= self.size else -1,
    ],
    ids=["one too high", "hole one too short", "anywhere in the hole"],
)  # fmt: skip
def test_a_place_that_is_wrong_by_a_quantum_is_found(
    faulty: Callable[[Placement, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit finds a placement that is wrong by a quantum or leaves the hole."""
    monkeypatch.setattr(Placement, "start_in", faulty)
    assert is_found(SUBJECTS["coalescing"])


@pytest.mark.parametrize("name", ["possible", "sure_size"])
def test_what_placement_knows_of_arenas_is_held_to_the_specification(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kit finds wrong answers of placement on whether a request is possible and which arena admits it."""
    wrong = {"possible": property(lambda self: not self.nocross), "sure_size": property(lambda self: self.size)}
    monkeypatch.setattr(Placement, name, wrong[name])
    assert is_found(SUBJECTS["coalescing"])


def test_a_search_tree_that_skips_a_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit finds a search tree that returns the second place that fits instead of the first."""
    original = FitTree.first_fit

    def first_fit(self: FitTree, length: int, start: int | None = None) -> int | None:
        found = original(self, length, start)
        behind = None if found is None else original(self, length, found + 1)
        return found if behind is None else behind

    monkeypatch.setattr(FitTree, "first_fit", first_fit)
    assert is_found(SUBJECTS["first-fit"])


def test_without_a_fault_nothing_is_found() -> None:
    """Without a fault the same spaces pass forty random programs, so what was found is the fault."""
    for make_space in (nested, kept_buddies, SUBJECTS["buddy"], BuddySpace, VmemSpace):
        assert not any(random_program(Subject(make_space), seed)[1] for seed in range(40))
