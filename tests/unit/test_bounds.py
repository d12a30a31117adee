"""The least address space: bounds that hold, solvers that are checked, and published instances solved."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from coalloc import InvalidRequestError
from coalloc.experiments import bounds as module
from coalloc.experiments.bounds import SOLVERS, Optimum, optimum
from coalloc.experiments.packing import Life, height, lives_of, lower_bound, misplaced
from coalloc.workload.formats import read
from coalloc.workload.program import SpaceProgram

pytest.importorskip("omnimalloc")
pytest.importorskip("ortools")

INSTANCES = Path(__file__).parents[3] / "shared" / "data" / "minimalloc"


GAP = [Life(0, 2, 2), Life(3, 5, 2), Life(1, 4, 1), Life(0, 1, 2), Life(4, 5, 2), Life(2, 4, 1), Life(1, 3, 1)]
"""Lives of which at most 4 bytes live at once, and which need 5."""


def least(lives: Sequence[Life]) -> int:
    """Return the least address space by trying every placement: the lowest base that a life can have is 0 or another's end."""
    best = sum(life.size for life in lives)

    def place(number: int, bases: list[int], top: int) -> None:
        nonlocal best
        if top >= best:
            return
        if number == len(lives):
            best = top
            return
        for base in range(best - lives[number].size):
            if not misplaced(lives[: number + 1], [*bases, base]):
                place(number + 1, [*bases, base], max(top, base + lives[number].size))

    place(0, [], 0)
    return best


def some_lives(draw: random.Random, n: int, most: int) -> list[Life]:
    """Draw lives."""
    lives = []
    for _ in range(n):
        begin = draw.randrange(6)
        lives.append(Life(begin, begin + draw.randint(1, 4), draw.randint(1, most)))
    return lives


@pytest.mark.parametrize("solvers", [["greedy"], ["omnimalloc"], ["ortools"], None], ids=str)
def test_bounds_hold_and_where_they_meet_the_least_is_known(solvers: list[str] | None) -> None:
    """Against every placement, for small random loads."""
    draw = random.Random(7)
    for _ in range(12):
        lives = some_lives(draw, 5, 4)
        found = optimum(lives, seconds=5, solvers=solvers)
        assert not misplaced(lives, found.bases)
        assert (
            found.most_live
            == lower_bound(lives)
            <= found.lower
            <= least(lives)
            <= found.upper
            == height(lives, found.bases)
        )
        if solvers != ["greedy"]:
            assert found.is_proven


def test_a_solver_may_prove_a_bound_above_the_most_live_bytes() -> None:
    """Then the bound says whose it is."""
    lives = GAP
    found = optimum(lives, seconds=10, solvers=["ortools"])
    assert least(lives) == 5
    assert (found.upper, found.lower, found.lower_by, found.is_proven) == (least(lives), least(lives), "ortools", True)
    assert found.most_live < found.lower


def test_ortools_improves_a_placement_that_is_bad() -> None:
    """A tower of all buffers is brought down to the least that there is."""
    tower = [sum(life.size for life in GAP[:number]) for number in range(len(GAP))]
    placement, proven = SOLVERS["ortools"][1](GAP, tower, 60.0)
    assert (height(GAP, placement), proven) == (5, 5)
    assert not misplaced(GAP, placement)


def test_omnimalloc_proves_what_greedy_finds() -> None:
    """It runs where the bounds do not meet."""
    found = optimum(GAP, solvers=["omnimalloc"])
    assert (found.upper, found.lower, found.lower_by) == (5, 5, "omnimalloc")
    assert [tried.height for tried in found.tries] == [5, 5]


def test_a_search_that_ends_without_an_answer_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap is halved until it is closed, and the bound from below stays."""
    monkeypatch.setattr(module, "_fits", lambda *_: ("unknown", None))
    found = optimum(GAP, solvers=["ortools"])
    assert (found.upper, found.lower, found.is_proven) == (5, 4, False)


class Liar:
    """Solvers that do not say the truth."""

    @staticmethod
    def overlaps(lives: Sequence[Life], _best: Sequence[int], _seconds: float) -> tuple[Sequence[int], int]:
        """Put everything at 0."""
        return [0] * len(lives), 0

    @staticmethod
    def too_high(lives: Sequence[Life], best: Sequence[int], _seconds: float) -> tuple[Sequence[int], int]:
        """Claim a lower bound above a placement that there is."""
        return best, height(lives, best) + 1

    @staticmethod
    def breaks(_lives: Sequence[Life], _best: Sequence[int], _seconds: float) -> tuple[Sequence[int], int]:
        """Fail."""
        raise MemoryError


@pytest.mark.parametrize(
    ("liar", "note"),
    [(Liar.overlaps, "its placement is not valid"), (Liar.too_high, ""), (Liar.breaks, "out of memory")],
    ids=["overlaps", "too high", "breaks"],
)
def test_what_a_solver_says_is_checked(liar: object, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A placement that is not valid counts for nothing, and so does a bound that a placement refutes."""
    lives = GAP
    honest = optimum(lives, solvers=[])
    monkeypatch.setattr(module, "SOLVERS", {"greedy": SOLVERS["greedy"], "liar": ("", liar)})
    found = optimum(lives, solvers=["liar"])
    assert (found.upper, found.lower, found.by) == (honest.upper, honest.lower, "greedy")
    assert found.tries[1].note == note


@pytest.mark.parametrize(("name", "solver"), [("_MOST_LIVES", "omnimalloc"), ("_MOST_RECTANGLES", "ortools")])
def test_a_load_that_is_too_large_for_a_solver_is_said_to_be(
    name: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the others found stands."""
    monkeypatch.setattr(module, name, 2)
    found = optimum(GAP, seconds=5, solvers=[solver])
    assert [(tried.solver, tried.height, tried.note) for tried in found.tries] == [
        ("greedy", found.upper, ""),
        (solver, None, "lives=7: are more than 2"),
    ]


def test_ortools_without_time_gives_the_placement_that_there_was() -> None:
    """And a bound that holds."""
    draw = random.Random(3)
    lives = some_lives(draw, 60, 9)
    found = optimum(lives, seconds=1e-9, solvers=["ortools"])
    assert found.tries[-1].height == found.upper
    assert found.lower <= found.upper


def test_where_the_bounds_meet_no_other_solver_runs() -> None:
    """One life needs its size."""
    said: list[str] = []
    found = optimum([Life(0, 1, 9)], progress=said.append)
    assert (found.upper, found.is_proven, said) == (9, True, ["greedy"])
    assert isinstance(found, Optimum)


@pytest.mark.parametrize(
    ("lives", "options", "what"),
    [
        ([], {}, "lives"),
        ([Life(0, 1, 1)], {"seconds": 0}, "seconds"),
        ([Life(0, 1, 1)], {"solvers": ["magic"]}, "solvers"),
    ],
)
def test_bad_arguments_are_refused(lives: list[Life], options: dict[str, object], what: str) -> None:
    """Before any solver runs."""
    with pytest.raises(InvalidRequestError) as caught:
        optimum(lives, **options)  # type: ignore[arg-type]
    assert caught.value.what == what


@pytest.mark.skipif(not INSTANCES.is_dir(), reason="the published instances are not here")
@pytest.mark.parametrize("name", ["B", "G"])
def test_a_published_instance_is_solved_to_its_known_optimum(name: str) -> None:
    """MiniMalloc's instances fit into 1 MiB."""
    program, _ = read(INSTANCES / f"{name}.1048576.csv")
    assert isinstance(program, SpaceProgram)
    found = optimum(lives_of(program), seconds=120, solvers=["ortools"])
    assert (found.lower, found.upper, found.by) == (1048576, 1048576, "ortools")
