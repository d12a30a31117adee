"""The Pareto front against its definition, and the choice by a preference."""

from __future__ import annotations

import itertools
import random
from typing import Any

import attrs
import pytest

from coalloc import COSTS, CoallocError, InvalidRequestError, MiB
from coalloc.experiments.pareto import OBJECTIVES, choose, front, objective_named, parse_preference
from coalloc.experiments.settings import Setting
from coalloc.experiments.sweeps import Failure, Figure, Sweep, SweepRow
from coalloc.workload.figures import LABELS

ZERO: dict[str, Figure] = dict.fromkeys(LABELS, 0)


def row(name: str = "a", *, digest: str = "p", limit: int = MiB, copies: int = 1, **figures: Any) -> SweepRow:
    """Return a row with these figures, and 0 for the others."""
    setting = Setting("vmem", (("name", name),), limit=limit, copies=copies)
    return SweepRow("a program", digest, setting, {**ZERO, **figures})


def result(*rows: SweepRow) -> Sweep:
    """Return a sweep with these rows."""
    return Sweep(rows, (), COSTS["unit"])


def test_the_front_is_what_nothing_dominates() -> None:
    """Against the definition, on random rows with ties and unknown figures, for one to three figures."""
    draw = random.Random(1)
    names = ("map_ops", "peak_resident", "external_fragmentation")
    for number in range(300):
        chosen = names[: 1 + number % 3]
        rows = [
            attrs.evolve(
                row(str(i)),
                figures=ZERO | {n: draw.choice([0, 1, 2, 3, None] if n == names[2] else [0, 1, 2, 3]) for n in chosen},
            )
            for i in range(draw.randint(1, 12))
        ]

        def worth(one: SweepRow, chosen: tuple[str, ...] = chosen) -> list[float]:
            values = [one.figures[name] for name in chosen]
            return [float("inf") if value is None else value for value in values]

        expected = {
            one
            for one in rows
            if not any(
                all(a <= b for a, b in zip(worth(other), worth(one), strict=True)) and worth(other) != worth(one)
                for other in rows
            )
        }
        assert front(rows, chosen) == expected


def test_loads_have_fronts_of_their_own() -> None:
    """Programs, eras, copies and seeds are loads; a limit is a setting."""
    cheap, dear = row("a", map_ops=1), row("b", map_ops=2)
    other = row("b", digest="q", map_ops=2)
    wide = row("a", map_ops=3, limit=2 * MiB)
    many = row("b", map_ops=9, copies=2)
    assert front([cheap, dear, other, wide, many], ["map_ops"]) == {cheap, other, many}


def test_who_refused_work_is_on_no_front() -> None:
    """A design that refuses pipes costs little because it does little."""
    lazy = row("lazy", map_ops=1, pipes_refused=1)
    assert front([lazy, row("b", map_ops=5)], ["map_ops"]) == {row("b", map_ops=5)}
    assert front([lazy], ["map_ops"]) == {lazy}


def test_a_front_of_no_figure_is_refused() -> None:
    """And so is a figure that nobody knows."""
    with pytest.raises(InvalidRequestError):
        front([row()], [])
    with pytest.raises(InvalidRequestError, match="is no figure"):
        objective_named("beauty")


@pytest.mark.parametrize(
    ("text", "bounds", "order"),
    [
        ("map_ops", [], ["map_ops"]),
        ("resident<=2x,map_ops", [("peak_resident", 2, True)], ["map_ops"]),
        (
            "mapped<=8M, cost<=1.5ms",
            [("peak_mapped", 8 * MiB, False), ("estimated_cost_ns", 1.5e6, False)],
            ["estimated_cost_ns"],
        ),
        ("fragmentation<=0.25,faults,map-ops", [("external_fragmentation", 0.25, False)], ["faults", "map_ops"]),
    ],
)  # fmt: skip
def test_a_preference_is_read(text: str, bounds: list[tuple[str, float, bool]], order: list[str]) -> None:
    """Bounds are factors, sizes, numbers or times; figures stand in the order of their weight."""
    preference = parse_preference(text)
    assert [(wish.figure, wish.most, wish.relative) for wish in preference.wishes] == bounds
    assert list(preference.order) == order


@pytest.mark.parametrize(
    "text",
    [
        "",
        "beauty",
        "map_ops>=2",
        "map_ops=2",
        "map_ops<2",
        "map_ops<=",
        "map_ops<=two",
        "map_ops<=3ms",
        "faults,faults",
        ",",
    ],
)
def test_a_preference_that_cannot_be_read_is_refused(text: str) -> None:
    """In one line."""
    with pytest.raises(InvalidRequestError):
        parse_preference(text)


def test_a_choice_keeps_its_bounds_on_every_load_and_says_what_it_gives_up() -> None:
    """The cheapest of those that keep the bound, with the price of each other figure."""
    rows = [
        row("a", map_ops=1, peak_resident=30, estimated_cost_ns=5e6),
        row("b", map_ops=7, peak_resident=10, estimated_cost_ns=9e6),
        row("c", map_ops=5, peak_resident=19, estimated_cost_ns=8e6),
    ]  # fmt: skip
    choice = choose(result(*rows), parse_preference("resident<=2x,map_ops"))
    assert dict(choice.setting.parameters) == {"name": "c"}
    assert choice.of == (2, 3)
    assert choice.rows == (rows[2],)
    assert choice.sentence == (
        "Choose vmem(name=c): of the 2 settings with peak resident bytes at most 2 times the least, the best by map "
        "operations, 5. Its price: map operations 5 where vmem(name=a) has 1, 5.00 times; peak resident bytes 19 where "
        "vmem(name=b) has 10, 1.90 times; estimated cost 8.000 ms where vmem(name=a) has 5.000 ms, 1.60 times."
    )


def test_a_choice_over_several_loads_adds_counts_and_takes_the_highest_peak() -> None:
    """The bound must hold on each load; shares are averaged."""
    rows = [
        row("a", map_ops=1, peak_resident=10), row("b", map_ops=2, peak_resident=11),
        row("a", digest="q", map_ops=9, peak_resident=10), row("b", digest="q", map_ops=3, peak_resident=12),
    ]  # fmt: skip
    assert dict(choose(result(*rows), parse_preference("map_ops")).setting.parameters) == {"name": "b"}
    assert dict(choose(result(*rows), parse_preference("resident<=1.1x,map_ops")).setting.parameters) == {"name": "a"}
    shares = [row("a", external_fragmentation=0.5), row("a", digest="q", external_fragmentation=0.25)]
    assert "0.375" in choose(result(*shares), parse_preference("fragmentation")).sentence


def test_a_choice_that_gives_up_nothing_says_so() -> None:
    """And with several limits it names the limit."""
    rows = [row("a", limit=MiB), row("a", limit=2 * MiB, map_ops=1)]
    sentence = choose(result(*rows), parse_preference("map_ops")).sentence
    assert "with a limit of 1 MiB" in sentence
    assert "It gives up nothing" in sentence


def test_unknown_and_zero_figures_are_written_as_such() -> None:
    """No factor is made of a figure that is not known, or of 0."""
    rows = [
        row("a", map_ops=1, external_fragmentation=None, peak_mapped=4),
        row("b", map_ops=2, external_fragmentation=0.5),
    ]
    sentence = choose(result(*rows), parse_preference("map_ops")).sentence
    assert "external fragmentation not known where vmem(name=b) has 0.500." in sentence
    assert "peak mapped bytes 4 where vmem(name=b) has 0;" in sentence


def test_where_no_setting_keeps_the_bounds_the_nearest_is_named() -> None:
    """Also after another bound, and where there is nothing at all."""
    rows = [row("a", map_ops=5, peak_resident=30), row("b", map_ops=7, peak_resident=10)]
    with pytest.raises(
        CoallocError, match=r"no setting keeps map operations at most 4; the nearest is vmem\(name=a\) with 5"
    ):
        choose(result(*rows), parse_preference("map_ops<=4"))
    with pytest.raises(CoallocError, match=r"the nearest that keeps the bounds before it is vmem\(name=b\) with 7"):
        choose(result(*rows), parse_preference("resident<=10,map_ops<=4"))
    with pytest.raises(CoallocError, match="nothing to choose"):
        choose(Sweep((), (Failure("p", "d", Setting("vmem"), "why"),), COSTS["unit"]), parse_preference("map_ops"))
    halves = [row("a", pipes_refused=1), row("b"), row("a", digest="q"), row("b", digest="q", pipes_refused=1)]
    with pytest.raises(CoallocError, match="no setting did all the work"):
        choose(result(*halves), parse_preference("map_ops"))


def test_every_objective_is_a_figure() -> None:
    """And each short name names one."""
    assert all(objective_named(name) == name for name in OBJECTIVES)
    assert len({objective_named(name) for name in ("resident", "mapped", "live", "estimate", "fragmentation")}) == 5
    assert not list(itertools.filterfalse(LABELS.__contains__, OBJECTIVES))


def test_the_nearest_is_the_one_that_breaks_its_bound_least() -> None:
    """By the factor on the load where it is farthest, not by bytes."""
    rows = [
        row(name, digest=load, peak_resident=peak)
        for load, peaks in (("small", (10, 100, 30)), ("big", (10_000, 1000, 3000)))
        for name, peak in zip("abc", peaks, strict=True)
    ]
    with pytest.raises(CoallocError, match=r"the nearest is vmem\(name=c\) with 3,000"):
        choose(result(*rows), parse_preference("resident<=2x"))


def test_a_choice_says_how_many_settings_are_left_out() -> None:
    """Those that refused work, with the limits that tell settings apart."""
    rows = [row("a", limit=4096, pipes_refused=3), row("a", limit=MiB, map_ops=1)]
    choice = choose(result(*rows), parse_preference("map_ops"))
    assert choice.of == (1, 2)
    assert choice.sentence.startswith("Choose vmem(name=a) with a limit of 1 MiB: ")
    assert choice.sentence.endswith("Left out: 1 of 2 settings, which refused or failed what others did.")
