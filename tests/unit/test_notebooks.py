"""What shows itself in a notebook: HTML in which everything that comes from outside is escaped."""

from __future__ import annotations

import pytest

from coalloc import DESIGNS, STATES, CoalescingSpace, ExhaustionError, KernelMap, MiB, replay
from coalloc._html import table
from coalloc.experiments.settings import Grid
from coalloc.experiments.sweeps import sweep
from coalloc.testing.on_targets import soak_target
from coalloc.workload.generators import hackbench

PIPES = hackbench(groups=1, fds=2, loops=3)


def test_a_table_escapes_and_writes_numbers() -> None:
    """None is empty, flags are words, shares have three decimals."""
    text = table(["<a>"], [["<b>"], [None], [True], [0.25], [12345]], "c & d")
    assert "&lt;a&gt;" in text
    assert "<caption>c &amp; d</caption>" in text
    assert [
        cell in text
        for cell in ("<td>&lt;b&gt;</td>", "<td></td>", "<td>True</td>", "<td>0.250</td>", "<td>12,345</td>")
    ] == [True] * 5


def test_outcomes_and_sweeps_show_their_counts() -> None:
    """An outcome every count that is not 0, a sweep a row for each setting."""
    outcome = replay(PIPES, DESIGNS["coalescing"], era=STATES["2004-01"], limit=8 * MiB)
    assert f"<td>map.map_ops</td><td>{outcome.map.map_ops}</td>" in outcome._repr_html_()
    done = sweep(Grid(["vmem", "coalescing"], {"arena_size": (MiB, 5000)}), [PIPES])
    shown = done._repr_html_()
    assert shown.count("<tr>") == 3
    assert "<caption>2 rows, 1 failures</caption>" in shown
    assert "<th>arena_size</th>" in shown
    nothing = sweep(Grid(["coalescing"], {"arena_size": (5000,)}), [PIPES])
    assert nothing._repr_html_().count("<tr>") == 1


def test_an_outcome_is_a_data_frame_of_its_samples() -> None:
    """With the extremes in columns of their own."""
    pytest.importorskip("pandas")
    outcome = replay(PIPES, DESIGNS["coalescing"], era=STATES["2004-01"], limit=8 * MiB)
    frame = outcome.to_dataframe()
    assert len(frame) == len(outcome.series)
    assert frame["live_most"].max() == outcome.peak_live
    assert list(frame["time"]) == [sample.time for sample in outcome.series]


def test_spaces_refusals_and_counterexamples_show_themselves() -> None:
    """As the text that they print."""
    space = CoalescingSpace(KernelMap(), kva_limit=MiB, arena_size=MiB)
    space.alloc(4096)
    assert space.render() in space._repr_html_()
    with pytest.raises(ExhaustionError) as caught:
        space.alloc(2 * MiB)
    explanation = caught.value.explain()
    assert explanation._repr_html_().startswith("<pre>no place for 2097152 bytes")
    found = soak_target("M1", enough=lambda *_: True).found
    assert found is not None
    assert "alloc" in found._repr_html_()
