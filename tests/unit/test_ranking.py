"""Which design wins, how far a price must move to change that, and the picture of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import DESIGNS, ERAS, bundled_build
from coalloc.pipes.protocol import PipeCounters
from coalloc.report.plots import draw_comparison
from coalloc.report.ranking import order as order_of
from coalloc.report.ranking import price_moves, price_rows, sentence, unmoved_by
from coalloc.report.tables import milliseconds
from coalloc.space.protocol import SpaceStats
from coalloc.vm.costs import COSTS, EVENTS, CostModel, Price, SpaceWork
from coalloc.vm.kernelmap import MapCounters
from coalloc.workload.generators import churn, exhaustion
from coalloc.workload.program import SpaceProgram
from coalloc.workload.replay import Outcome, Waits, replay_all

MEASURED = COSTS["measured"]


def outcome_of(design: str, *, hits: int = 0, **counters: int) -> Outcome:
    """Return an outcome with some counts."""
    return Outcome(
        design=design,
        era="2006",
        limit=1 << 20,
        pipes=PipeCounters(),
        map=MapCounters(**counters),
        space=SpaceStats(),
        waits=Waits(),
        peak_live=0,
        allocs_refused=0,
        work=SpaceWork(cache_hits=hits),
        series=(),
        console=(),
    )


def with_price(event: str, ns: float) -> CostModel:
    """Return the measured prices with one of them moved."""
    return attrs.evolve(MEASURED, prices={**MEASURED.prices, event: Price(ns, "moved")})


def order(outcomes: Sequence[Outcome], costs: CostModel) -> list[str]:
    """Return the designs by their estimated cost."""
    return [o.design for o in sorted(outcomes, key=lambda outcome: outcome.estimate(costs).ns)]


COUNTS = st.integers(0, 50)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=2, max_size=4))
def test_the_order_holds_up_to_the_price_that_is_named_and_no_further(counts: list[tuple[int, int, int]]) -> None:
    """Between the two prices of a move the order stays as it is; just beyond each it is another."""
    designs = [
        outcome_of(f"d{number}", map_ops=ops, faults=faults, hits=hits)
        for number, (ops, faults, hits) in enumerate(counts)
    ]
    today = order(designs, MEASURED)
    costs = {outcome.design: outcome.estimate(MEASURED).ns for outcome in designs}
    if len(set(costs.values())) < len(costs):
        return  # who costs the same has no order
    moves = {move.event: move for move in price_moves(designs, MEASURED)}
    for event, price in MEASURED.prices.items():
        move = moves.get(event)
        below, above = (move.below, move.above) if move is not None else (None, None)
        lowest, highest = (below.ns if below else 0.0), (above.ns if above else 1e9)
        for inside in (lowest + (price.ns - lowest) * 0.001, highest - (highest - price.ns) * 0.001):
            assert order(designs, with_price(event, inside)) == today
        if below is not None:
            moved = order(designs, with_price(event, below.ns * 0.999))
            assert moved.index(below.dearer) < moved.index(below.cheaper)
        if above is not None:
            moved = order(designs, with_price(event, above.ns * 1.001))
            assert moved.index(above.dearer) < moved.index(above.cheaper)


def test_prices_are_shown_with_what_changes_places() -> None:
    """A row has the price of today, and the nearest change of the order on either side."""
    few, many = outcome_of("few", map_ops=1, hits=1000), outcome_of("many", map_ops=11)
    rows = {row.label: row for row in price_rows(price_moves([few, many], MEASURED))}
    ops, hit = (MEASURED.prices[name].ns for name in ("map_ops", "cache_hits"))
    assert set(rows) == {"map operations", "allocs served by a cache"}
    assert rows["map operations"].values == (f"{ops:,.0f}", f"{1000 * hit / 10:,.0f}: many before few", "never")
    assert rows["allocs served by a cache"].values == (
        f"{hit:,.0f}",
        "never",
        f"{ops * 10 / 1000:,.0f}: many before few",
    )
    assert unmoved_by([outcome_of("none"), outcome_of("some", faults=3)], MEASURED) == ("faults",)


def test_a_price_that_nobody_measured_is_said_to_be_none() -> None:
    """Events without a price have a row where a price of theirs would change the order."""
    cheap, dear = outcome_of("cheap", findspace_probes=100), outcome_of("dear", map_ops=1)
    [probes] = [row for row in price_rows(price_moves([cheap, dear], MEASURED)) if row.label == "findspace probes"]
    assert probes.values[0] == "not priced"
    assert probes.ratios == ("1.00", "-", "-")


def test_the_sentence_says_who_wins_and_at_what_price() -> None:
    """It names the winner, the next, what the winner is beaten on and by whom, and the price that matters most."""
    mine = outcome_of("mine", map_ops=2, peak_mapped=3000, peak_resident=500)
    other = outcome_of("other", map_ops=4, peak_mapped=1000, peak_resident=500)
    third = outcome_of("third", map_ops=8, peak_mapped=1000, peak_resident=500)
    ns = MEASURED.prices["map_ops"].ns
    assert sentence([mine, other, third], MEASURED) == (
        f"mine has the lowest estimated cost, {2 * ns / 1e6:.3f} ms, before other with {4 * ns / 1e6:.3f} ms, at the price of "
        "3.00 times the peak mapped bytes of other and third; no single price can change that."
    )
    assert "no design has fewer map operations, peak mapped bytes or peak resident" in sentence(
        [other, third], MEASURED
    )
    assert sentence([mine], MEASURED) == ""
    none = attrs.evolve(mine, map=attrs.evolve(mine.map, map_ops=0), work=SpaceWork(cache_hits=400), design="none")
    assert "none would win if allocs served by a cache cost 1/1.91 of their price" in sentence([mine, none], MEASURED)
    assert "2 map operations where none has none" in sentence([mine, none], MEASURED)


def test_designs_that_cost_the_same_are_named_together() -> None:
    """The order has an equals sign between them, and the sentence names all that come second."""
    low, one, two = outcome_of("low"), outcome_of("one", map_ops=1), outcome_of("two", map_ops=1)
    assert order_of([two, one, low], MEASURED) == "low, two = one"
    assert ", before one and two with 0.003 ms, " in sentence([low, one, two], MEASURED)
    assert order_of([], MEASURED) == ""


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0.000"), (31, "0.000031"), (999, "0.000999"), (1000, "0.001"), (4e9, "4,000.000")]
)
def test_small_costs_keep_their_digits(ns: float, text: str) -> None:
    """Below a microsecond there are six decimals."""
    assert milliseconds(ns) == text


def test_the_sentence_names_no_winner_where_there_is_none() -> None:
    """Equal costs are said to be equal, and different work is not compared."""
    one, two = outcome_of("one", map_ops=1), outcome_of("two", map_ops=1)
    dear = outcome_of("dear", map_ops=2)
    assert sentence([one, two], MEASURED).startswith("All designs have the same estimated cost")
    assert sentence([one, two, dear], MEASURED).startswith("The lowest estimated cost is that of one and two")
    refusing = attrs.evolve(dear, allocs_refused=1)
    assert sentence([one, refusing], MEASURED) == "No design is said to win: they did different work."


@pytest.mark.parametrize(
    "program",
    [bundled_build(), churn(live=30, operations=3000, seed=1), exhaustion(pipes=50), SpaceProgram([])],
    ids=["build", "churn", "exhaustion", "nothing"],
)
def test_picture_and_table_show_the_same_peaks(program: object) -> None:
    """The highest point of each line is the peak of the table, and the lowest of the shade is what the samples had least."""
    pytest.importorskip("matplotlib")
    numpy = pytest.importorskip("numpy")
    designs = [DESIGNS[name] for name in ("per-pipe", "coalescing", "dragonfly", "linux", "netbsd")]
    outcomes = replay_all(program, designs, era=ERAS["2006"], limit=1 << 20, samples=40)  # type: ignore[arg-type]
    figure = draw_comparison(outcomes, "t")
    for outcome, axes in zip(outcomes, figure.axes, strict=False):
        lines = {line.get_label(): max([0, *numpy.asarray(line.get_ydata())]) for line in axes.lines}
        assert axes.get_title() == outcome.design
        assert lines == {
            "mapped": outcome.map.peak_mapped,
            "resident": outcome.map.peak_resident,
            "live": outcome.peak_live,
        }
    for outcome in outcomes:
        for sample in outcome.series:
            assert sample.live_range.least <= sample.live <= sample.live_range.most
            assert sample.mapped_range.least <= sample.mapped <= sample.mapped_range.most
            assert sample.resident_range.least <= sample.resident <= sample.resident_range.most


def test_samples_know_the_extremes_of_every_operation_between_them() -> None:
    """A replay with few samples has the extremes that one with a sample for each operation has."""
    program = churn(live=30, operations=600, seed=2)
    [few] = replay_all(program, [DESIGNS["per-pipe"]], era=ERAS["2006"], limit=1 << 20, samples=7)
    [all_of] = replay_all(program, [DESIGNS["per-pipe"]], era=ERAS["2006"], limit=1 << 20, samples=10**6)
    stride = -(-len(program) // 7)
    for number, sample in enumerate(few.series):
        part = all_of.series[number * stride : (number + 1) * stride]
        for name in ("live_range", "mapped_range", "resident_range"):
            assert getattr(sample, name).least == min(getattr(each, name).least for each in part)
            assert getattr(sample, name).most == max(getattr(each, name).most for each in part)


def test_every_event_is_a_count_of_the_map_or_the_space() -> None:
    """No event is counted twice, and none is missing from both."""
    work, counters = (
        {field.name for field in attrs.fields(SpaceWork)},
        {field.name for field in attrs.fields(MapCounters)},
    )
    assert set(EVENTS) <= work | counters
    assert not work & counters
