"""Rows on disk: nothing that was finished is lost, and the file is there whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from coalloc import COSTS, CoallocError, Fit, InvalidRequestError, MiB
from coalloc.experiments.journal import SUFFIXES, Journal, write_rows
from coalloc.experiments.settings import Grid, Setting
from coalloc.experiments.sweeps import Sweep, SweepRow, key_of, sweep
from coalloc.workload.generators import hackbench

PIPES = hackbench(groups=1, fds=2, loops=3)
GRID = Grid(["coalescing", "per-pipe"], {"arena_size": (MiB, 2 * MiB), "fit": (Fit.BEST, Fit.FIRST)})
COST = COSTS["measured"]


@pytest.fixture(scope="module", name="done")
def _done() -> Sweep:
    return sweep(GRID, [PIPES])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path, done: Sweep, suffix: str) -> None:
    """The file equals that of a sweep that ran through, and the journal is gone."""
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"rows{suffix}"
    write_rows(done, whole)
    journal = Journal(path, COST)
    for row in done.rows[:2]:
        journal.add(row)
    journal.close()
    journal.part.write_text(journal.part.read_text() + '{"key": "cut o')  # the machine stopped
    assert not path.exists()
    resumed = Journal(path, COST, resume=True)
    assert len(resumed.done) == 2
    again: list[SweepRow] = []

    def keep(row: SweepRow) -> None:
        again.append(row)
        resumed.add(row)

    result = sweep(GRID, [PIPES], done=resumed.done, each=keep)
    assert again == list(done.rows[2:])
    resumed.close()
    assert len(Journal(path, COST, resume=True).done) == 5
    resumed.finish(result)
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, whole]


def test_rows_are_read_back_as_they_are(tmp_path: Path, done: Sweep) -> None:
    """CSV as text, JSON lines and Parquet with their types; what is not known is empty."""
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in SUFFIXES:
        write_rows(done, tmp_path / f"r{suffix}")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        read: list[dict[str, Any]] = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    table = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert list(read[0]) == done.columns() == list(table[0])
    assert lines == [row.columns() for row in done.rows]
    for text, line, record in zip(read, lines, table, strict=True):
        assert {name: value for name, value in record.items() if name in line} == line
        assert text["map_ops"] == str(line["map_ops"])
        assert text["fit"] == line.get("fit", "")


def test_a_column_of_parquet_has_one_type(tmp_path: Path, done: Sweep) -> None:
    """A parameter that is a number here and a word there is written as text."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        attrs.evolve(done.rows[0], setting=Setting("vmem", (("a", value), ("b", flag), ("c", c), ("d", d))))
        for value, flag, c, d in ((1, True, 1.5, True), ("x", False, 2, 7))
    ]
    write_rows(Sweep(tuple(rows), (), COST), tmp_path / "r.parquet")
    table = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert [(record["a"], record["b"], record["c"], record["d"]) for record in table] == [
        ("1", True, 1.5, "True"),
        ("x", False, 2.0, "7"),
    ]


def test_a_number_that_parquet_cannot_hold_is_one_clear_error(tmp_path: Path, done: Sweep) -> None:
    """Nothing is left behind."""
    pytest.importorskip("pyarrow")
    row = attrs.evolve(done.rows[0], setting=Setting("vmem", (("a", 1 << 70),)))
    with pytest.raises(CoallocError, match="cannot be written as Parquet"):
        write_rows(Sweep((row,), (), COST), tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []


def test_names_under_which_nothing_can_be_written_are_refused(tmp_path: Path, done: Sweep) -> None:
    """Before any work."""
    for name in ("rows.txt", "none/rows.csv"):
        with pytest.raises(InvalidRequestError, match="output"):
            Journal(tmp_path / name, COST)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidRequestError, match="output"):
        Journal(tmp_path / "folder.csv", COST)
    with pytest.raises(InvalidRequestError, match="output"):
        write_rows(done, tmp_path / "rows.txt")


def test_a_journal_is_neither_overwritten_nor_mixed_up(tmp_path: Path, done: Sweep) -> None:
    """Resuming is asked for; other prices, and what is no journal, are refused."""
    path = tmp_path / "rows.csv"
    with pytest.raises(InvalidRequestError, match="nothing was interrupted"):
        Journal(path, COST, resume=True)
    journal = Journal(path, COST)
    journal.close()
    assert not journal.part.exists(), "a journal begins with the first row"
    journal.add(done.rows[0])
    journal.close()
    with pytest.raises(InvalidRequestError, match="go on with --resume"):
        Journal(path, COST)
    with pytest.raises(InvalidRequestError, match="other prices"):
        Journal(path, COSTS["unit"], resume=True)
    journal.part.write_text("")
    with pytest.raises(InvalidRequestError, match="is empty"):
        Journal(path, COST, resume=True)
    journal.part.write_text("nonsense\n")
    with pytest.raises(InvalidRequestError, match="no journal"):
        Journal(path, COST, resume=True)


@pytest.mark.parametrize(
    "line",
    [
        '{"key": [1], "figures": {}}',
        '{"key": "k", "figures": {}}',
        '{"key": "k", "figures": 7}',
        "[]",
        '{"figures": {}}',
    ],
)
def test_damaged_lines_of_a_journal_are_left_out(tmp_path: Path, done: Sweep, line: str) -> None:
    """Their settings are replayed again."""
    journal = Journal(tmp_path / "rows.csv", COST)
    journal.add(done.rows[0])
    journal.close()
    journal.part.write_text(journal.part.read_text() + line + "\n")
    assert list(Journal(tmp_path / "rows.csv", COST, resume=True).done) == [
        key_of(done.rows[0].digest, done.rows[0].setting)
    ]


def test_rows_of_other_settings_are_not_lost(tmp_path: Path, done: Sweep) -> None:
    """A sweep with another grid does not go on with them."""
    journal = Journal(tmp_path / "rows.csv", COST)
    for row in done.rows[:2]:
        journal.add(row)
    journal.close()
    resumed = Journal(tmp_path / "rows.csv", COST, resume=True)
    resumed.require_all([key_of(row.digest, row.setting) for row in done.rows])
    with pytest.raises(InvalidRequestError, match="has 1 rows of other settings"):
        resumed.require_all([key_of(done.rows[0].digest, done.rows[0].setting)])
    assert journal.part.exists()


def test_a_parameter_that_is_none_is_written_as_a_word(tmp_path: Path, done: Sweep) -> None:
    """In CSV, where nothing means that the design lacks it."""
    row = attrs.evolve(done.rows[0], setting=Setting("vmem", (("a", None), ("b", 1))))
    write_rows(Sweep((row, done.rows[1]), (), COST), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        assert [(record["a"], record["b"]) for record in csv.DictReader(file)] == [("none", "1"), ("", "")]


def test_an_unfinished_file_is_removed(tmp_path: Path, done: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the old file stays."""
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def fail(_row: SweepRow, none: str | None = None) -> dict[str, Any]:  # noqa: ARG001
        raise OSError("the disk is full")

    monkeypatch.setattr(SweepRow, "columns", fail)
    with pytest.raises(OSError, match="full"):
        write_rows(done, path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
