"""``coalloc sweep`` and ``coalloc regret`` as a user types them."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from coalloc.workload.figures import LABELS

STRANGER = '''
"""A stranger's allocator."""
from coalloc import CoalescingSpace

def make(source, *, kva_limit, arena=1 << 20):
    """First fit of mine."""
    if arena < 8192:
        raise ValueError("too small")
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena)
'''


@pytest.fixture
def pipes(coalloc: Any, tmp_path: Path) -> str:
    """Write a small pipe program to a file."""
    file = str(tmp_path / "small.pipes")
    assert coalloc("trace", "generate", "shell-pipeline", "pipelines=3", "-o", file).status == 0
    return file


@pytest.fixture
def buffers(coalloc: Any, tmp_path: Path) -> str:
    """Write a small program of buffers to a file."""
    file = str(tmp_path / "comb.space")
    assert coalloc("trace", "generate", "comb", "teeth=20", "-o", file).status == 0
    return file


def test_a_sweep_has_a_row_for_each_setting_and_picks_one(coalloc: Any, pipes: str) -> None:
    """Only what differs has a column; rows on the front are marked; the choice says what it gives up."""
    result = coalloc(
        "sweep", pipes, "--vary", "arena_size=1M,4M", "--vary", "release=eager,retain:1", "--prefer", "map_ops,mapped",
        "--jobs", "1",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith(" row"))
    rows = [line.split() for line in lines[head + 1 : head + 6]]
    assert [row[:4] for row in rows] == [
        ["1*", "per-pipe", "-", "-"], ["2", "coalescing", "1M", "eager"], ["3*", "coalescing", "1M", "retain(1)"],
        ["4", "coalescing", "4M", "eager"], ["5*", "coalescing", "4M", "retain(1)"],
    ]  # fmt: skip
    assert "3 of 5 rows: on the Pareto front" in result.out
    assert lines[-1].startswith(
        "Choose coalescing(arena_size=1M, release=retain(1)): of all, the best by map operations, 1. "
    )
    assert "Its price: peak mapped bytes 1,048,576 where per-pipe has 65,536, 16.00 times" in lines[-1]


def test_processes_give_the_rows_that_one_process_gives(coalloc: Any, pipes: str, buffers: str, tmp_path: Path) -> None:
    """In the file, too, which has every figure."""
    outputs = []
    for jobs in ("1", "2"):
        file = tmp_path / f"{jobs}.csv"
        result = coalloc(
            "sweep", pipes, buffers, "--vary", "fit=best,first", "--designs", "coalescing,vmem", "--jobs", jobs,
            "-o", str(file), "--json",
        )  # fmt: skip
        assert (result.status, result.err) == (0, f"coalloc: wrote {file}: 6 rows\n")
        outputs.append((json.loads(result.out), file.read_text()))
    assert outputs[0] == outputs[1]
    answer, text = outputs[0]
    rows = list(csv.DictReader(text.splitlines()))
    assert set(LABELS) <= set(rows[0])
    assert [row["fit"] for row in rows] == ["best", "first", ""] * 2
    assert [row["map_ops"] for row in rows] == [str(row["map_ops"]) for row in answer["rows"]]
    assert answer["failures"] == []
    assert any(row["on_front"] for row in answer["rows"])


def test_copies_limits_and_eras_are_varied_too(coalloc: Any, pipes: str, tmp_path: Path) -> None:
    """With a picture of every load."""
    picture = tmp_path / "front.svg"
    result = coalloc(
        "sweep", pipes, "--designs", "per-pipe", "--copies", "1,2", "--seeds", "2", "--spread", "0.5", "--limit", "8M,64M",
        "--era", "2004-01,2006", "--jobs", "1", "--plot", str(picture), "--columns", "faults",
    )  # fmt: skip
    assert (result.status, result.err) == (0, f"coalloc: wrote {picture}\n")
    assert " of 12 rows" in result.out
    assert all(word in result.out for word in ("era", "limit", "copies", "seed", "page faults"))
    assert "on the Pareto front" in picture.read_text()


def test_a_strangers_design_is_varied_and_its_failures_are_shown(coalloc: Any, pipes: str, tmp_path: Path) -> None:
    """What cannot be made is said; where nothing can, the status is 1."""
    (tmp_path / "mine.py").write_text(STRANGER)
    target = f"{tmp_path / 'mine.py'}:make"
    result = coalloc("sweep", pipes, "--designs", target, "--vary", "arena=4K,64K", "--jobs", "2")
    assert result.status == 0
    assert "1 setting could not be run:" in result.out
    assert "make(arena=4K): ValueError: too small" in result.out
    nothing = coalloc("sweep", pipes, "--designs", target, "--vary", "arena=4K", "--prefer", "map_ops")
    assert (nothing.status, nothing.err) == (1, "coalloc: error: no setting could be run\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vary", "colour=red"], "is no parameter of these designs"),
        (["--vary", "fit"], "must be NAME=VALUE"),
        (["--vary", "fit=worst-of-all"], "must be one of"),
        (["--designs", "per-pipe,,vmem"], "must be values separated by commas"),
        (["--designs", "nothing"], "is no design"),
        (["--copies", "0"], "must be whole numbers >= 1"),
        (["--copies", "1000000"], "--max-operations"),
        (["--limit", "8M,64"], "must be at least a page"),
        (["--era", "1066"], "is no era"),
        (["--seeds", "2"], "only the beginnings of copies are drawn"),
        (["--spread", "-1", "--copies", "2"], "must be a number of seconds"),
        (["--objectives", "beauty"], "is no figure"),
        (["--columns", "beauty"], "is no figure"),
        (["--prefer", "map_ops>1"], "must be FIGURE or FIGURE<=BOUND"),
        (["--resume"], "needs the --output"),
        (["--jobs", "0"], "must be in 1 .. 1024"),
        (["--plot", "x.gif"], "must end in"),
        (["-o", "x.txt"], "must end in"),
        (["--cluster", "nowhere"], "must be the address of a scheduler"),
        (["nothing.pipes"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    coalloc: Any, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 2."""
    monkeypatch.chdir(tmp_path)
    result = coalloc("sweep", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_preference_that_nothing_keeps_is_said_after_the_table(coalloc: Any, pipes: str) -> None:
    """With status 1."""
    result = coalloc("sweep", pipes, "--prefer", "map_ops<=0", "--jobs", "1")
    assert result.status == 1
    assert "on the Pareto front" in result.out
    assert "no setting keeps map operations at most 0; the nearest is coalescing with 1" in result.err
    answer = json.loads(coalloc("sweep", pipes, "--prefer", "map_ops<=0", "--jobs", "1", "--json").out)
    assert answer["choice"] is None
    assert answer["no_choice"].startswith("no setting keeps")


def test_a_sweep_that_is_interrupted_goes_on(pipes: str, tmp_path: Path, coalloc: Any) -> None:
    """A signal ends it at once; its rows are kept, and the file is that of a sweep that ran through."""
    many = [
        "sweep", pipes, "--vary", "arena_size=" + ",".join(f"{size}M" for size in range(1, 121)), "--copies", "50",
        "--designs", "coalescing", "--jobs", "2",
    ]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "coalloc", *many, "-o", str(file)], stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "rows.jsonl.part"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (part.exists() and len(part.read_text().splitlines()) > 2):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)  # Ctrl-C takes the same way, but may be ignored in a job of a shell
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert f"kept in {part}; go on with --resume\n" in err
    assert not file.exists()
    refused = coalloc(*many, "-o", str(file))
    assert (refused.status, "go on with --resume" in refused.err) == (2, True)
    assert coalloc(*many, "-o", str(file), "--resume").status == 0
    whole = tmp_path / "whole.jsonl"
    assert coalloc(*many, "-o", str(whole)).status == 0
    assert file.read_text() == whole.read_text()
    assert not part.exists()
    again = coalloc(*many, "-o", str(file), "--resume")
    assert (again.status, "nothing was interrupted" in again.err) == (2, True)


def test_doubtful_logs_end_with_status_1(coalloc: Any, tmp_path: Path) -> None:
    """Unless --lenient says that this is right."""
    log = tmp_path / "bad.mtrace"
    log.write_text("= Start\n@ [0x1] + 0x10 0x8\n" + "@ [0x1] - 0x99\n" * 5 + "= End\n")
    strict, lenient = coalloc("sweep", str(log), "--jobs", "1"), coalloc("sweep", str(log), "--jobs", "1", "--lenient")
    assert (strict.status, lenient.status) == (1, 0)
    assert strict.out == lenient.out


def test_regret_shows_both_bounds_and_every_design(coalloc: Any, buffers: str) -> None:
    """With the solvers that were tried."""
    result = coalloc(
        "regret", buffers, "--designs", "first-fit,buddy", "--vary", "arena_size=1M", "--solvers", "greedy"
    )
    assert (result.status, result.err) == (0, "")
    assert "least address space found: " in result.out
    assert "first-fit(arena_size=1M)" in result.out
    answer = json.loads(coalloc("regret", buffers, "--designs", "first-fit,buddy", "--json", "--solvers", "greedy").out)
    figures = answer["designs"][0]
    assert figures["addresses_to_least"] == figures["addresses_used"] / figures["least_upper"]
    assert figures["least_lower"] <= figures["least_upper"]


def test_regret_of_pipes_and_of_nothing(coalloc: Any, tmp_path: Path, pipes: str) -> None:
    """Designs that did different work are said to have done so."""
    shown = coalloc("regret", pipes, "--designs", "per-pipe,linux", "--solvers", "greedy", "--limit", "32K")
    assert shown.status == 0
    assert "per-pipe: " in shown.out
    assert "did different work" in shown.err
    empty = tmp_path / "empty.space"
    assert coalloc("trace", "generate", "comb", "teeth=2", "size=1", "-o", str(empty)).status == 0
    empty.write_text("".join(empty.read_text().splitlines(keepends=True)[:1]))
    nothing = coalloc("regret", str(empty))
    assert nothing.status == 0
    assert "no buffer was handed out" in nothing.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seconds", "0"], "must be a number > 0"),
        (["--solvers", "magic"], "is no solver"),
        (["--designs", "x"], "is no design"),
    ],
)
def test_bad_input_of_regret_is_one_line(coalloc: Any, arguments: list[str], words: str) -> None:
    """With status 2."""
    result = coalloc("regret", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err


def test_the_kit_runs_on_a_cluster(coalloc: Any) -> None:
    """A soak on two workers of this machine says where the dashboard is."""
    pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, "-m", "coalloc", "soak", "coalescing", "--operations", "3000", "--cluster", "local:1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("coalloc: dashboard: http://")
    assert "nothing is broken" in done.stdout
    refused = coalloc("mutants", "M1", "--cluster", "nowhere")
    assert (refused.status, "must be the address" in refused.err) == (2, True)


def test_a_map_follows_a_program_frame_by_frame(coalloc: Any, pipes: str) -> None:
    """Into a pipe each frame stands below the one before; nothing waits."""
    result = coalloc("map", pipes, "--follow", "--frames", "3", "--seconds", "9000", "--width", "16")
    assert (result.status, result.err) == (0, "")
    frames = result.out.split("\n\n")
    assert len(frames) == 5
    assert frames[0].endswith("\ncoalescing, era 2004-01")
    assert [frame.split(":")[0] for frame in frames[1:4]] == [
        "after operation 15 of 46", "after operation 31 of 46", "after operation 46 of 46",
    ]  # fmt: skip
    assert all("|" in frame for frame in frames[1:4])
    bad = coalloc("map", pipes, "--follow", "--seconds", "-1")
    assert (bad.status, "must be a number of seconds" in bad.err) == (2, True)


def test_a_map_is_coloured_on_a_terminal_only(coalloc: Any, pipes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where NO_COLOR is set; the characters are the same, and an animation ends with the last frame."""
    plain = coalloc("map", pipes, "--width", "16").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = coalloc("map", pipes, "--width", "16").out
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    assert "\x1b[1;34m#" in coloured
    assert "\x1b[33mc\x1b[0m cached" in coloured
    played = coalloc("map", pipes, "--follow", "--frames", "2", "--seconds", "0", "--width", "16").out
    assert "after operation 46 of 46" in played
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;34m" not in coalloc("map", pipes, "--width", "16").out


def test_a_report_is_written_and_says_how_it_was_made(coalloc: Any, pipes: str, tmp_path: Path) -> None:
    """As one file; a sweep writes one, too, also where no setting keeps the bounds."""
    pytest.importorskip("bokeh")
    page, other = tmp_path / "page.html", tmp_path / "sweep.html"
    result = coalloc("report", pipes, "-o", str(page), "--frames", "4", "--designs", "per-pipe,vmem")
    assert (result.status, result.out, result.err) == (0, "", f"coalloc: wrote {page}\n")
    assert "has the lowest estimated cost" in page.read_text(encoding="utf-8")
    failed = coalloc("sweep", pipes, "--jobs", "1", "--report", str(other), "--prefer", "map_ops<=0")
    assert failed.status == 1
    assert "no setting keeps map operations at most 0" in other.read_text(encoding="utf-8")
    for arguments, words in (
        (["report", pipes, "-o", "page.txt"], "must end in .html"),
        (["report", pipes, "-o", str(page), "--frames", "0"], "must be in 1 .. 1000"),
        (["sweep", pipes, "--report", "none/page.html"], "its folder does not exist"),
    ):
        refused = coalloc(*arguments)
        assert (refused.status, refused.out, words in refused.err) == (2, "", True)
