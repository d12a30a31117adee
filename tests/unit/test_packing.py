"""Placements of buffers whose lifetimes are known: bounds, the check, and what the simple one makes."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import InvalidRequestError, SpaceProgram
from coalloc.experiments import Life, greedy, height, lives_of, lower_bound, misplaced
from coalloc.experiments import packing as module

INSTANCES = Path(__file__).parents[3] / "shared" / "data" / "minimalloc"
LIVES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 6)).map(lambda t: Life(t[0], t[0] + t[1], t[2])),
    max_size=5,
)


def overlap(one: Life, other: Life, base: int, other_base: int) -> bool:
    """Tell whether two lives share a moment and an address, moment by moment and address by address."""
    moments = set(range(one.begin, one.end)) & set(range(other.begin, other.end))
    addresses = set(range(base, base + one.size)) & set(range(other_base, other_base + other.size))
    return bool(moments and addresses)


def fits(lives: list[Life], space: int, bases: tuple[int, ...] = ()) -> bool:
    """Tell whether the lives can be placed in so much space, by trying every address for each."""
    if len(bases) == len(lives):
        return True
    life = lives[len(bases)]
    return any(
        not any(overlap(life, lives[other], base, there) for other, there in enumerate(bases))
        and fits(lives, space, (*bases, base))
        for base in range(space - life.size + 1)
    )


@given(LIVES)
def test_every_placement_that_is_made_is_right_and_lies_between_the_bounds(lives: list[Life]) -> None:
    """No pair shares a moment and an address; no placement is lower than the most bytes that live at once."""
    bases = greedy(lives)
    for (one, base), (other, there) in itertools.combinations(zip(lives, bases, strict=True), 2):
        assert not overlap(one, other, base, there)
    assert misplaced(lives, bases) == ()
    moments = [sum(life.size for life in lives if life.begin <= moment < life.end) for moment in range(15)]
    assert lower_bound(lives) == max(moments)
    assert lower_bound(lives) <= height(lives, bases)
    assert not lives or not fits(lives, lower_bound(lives) - 1)


@given(LIVES, st.data())
def test_the_check_finds_what_overlaps_and_nothing_else(lives: list[Life], data: st.DataObject) -> None:
    """Random placements are faulty if and only if some pair shares a moment and an address, or a base is below 0."""
    bases = [data.draw(st.integers(-1, 12)) for _ in lives]
    found = misplaced(lives, bases)
    pairs = {
        (i, j)
        for (i, one), (j, other) in itertools.combinations(enumerate(lives), 2)
        if overlap(one, other, bases[i], bases[j])
    }
    assert bool(found) == bool(pairs or any(base < 0 for base in bases))
    for one_, other_ in found:
        assert bases[one_] < 0 if one_ == other_ else (min(one_, other_), max(one_, other_)) in pairs


def test_many_lives_are_placed_in_the_order_of_their_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """That placement is right, too, and no lower than that of all orders."""
    lives = [Life(n % 7, n % 7 + 1 + n % 3, 1 + n % 5) for n in range(60)]
    all_orders = height(lives, greedy(lives))
    monkeypatch.setattr(module, "_MANY", 10)
    bases = greedy(lives)
    assert misplaced(lives, bases) == ()
    assert lower_bound(lives) <= all_orders <= height(lives, bases)


def test_a_program_has_a_life_for_each_buffer_and_each_size() -> None:
    """A resize ends one life and begins another; what is not freed lives until the end; sizes are rounded."""
    program = SpaceProgram([(0, 0, 5), (0, 1, 8), (2, 0, 9), (1, 0, 0)])
    assert lives_of(program, quantum=8) == (Life(0, 2, 8), Life(1, 4, 8), Life(2, 3, 16))
    assert lives_of(program)[0] == Life(0, 2, 5)
    assert lives_of(SpaceProgram([])) == ()
    assert (lower_bound([]), height([], []), greedy([]), misplaced([], [])) == (0, 0, (), ())


def test_bad_arguments_are_refused() -> None:
    """A quantum below 1, and a placement that is none."""
    for quantum in (0, -1, True):
        with pytest.raises(InvalidRequestError):
            lives_of(SpaceProgram([]), quantum=quantum)
    for bases in ([], [1.5], [True]):
        with pytest.raises(InvalidRequestError):
            misplaced([Life(0, 1, 1)], bases)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", "ABCDEFG")
def test_the_instances_of_minimalloc_are_placed_within_their_bounds(name: str) -> None:
    """The simple placement is right, and within half of the lower bound again."""
    file = INSTANCES / f"{name}.1048576.csv"
    if not file.exists():
        pytest.skip("the instances are not here")
    with open(file, encoding="utf-8", newline="") as rows:
        lives = [Life(int(row["lower"]), int(row["upper"]), int(row["size"])) for row in csv.DictReader(rows)]
    bases = greedy(lives)
    assert misplaced(lives, bases) == ()
    assert lower_bound(lives) <= height(lives, bases) <= 1.5 * 1048576
