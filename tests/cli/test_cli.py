"""The command line as a user types it: good input, bad input, exit status, and what goes to which stream."""

from __future__ import annotations

import functools
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coalloc import __version__ as coalloc_version
from coalloc import cli
from coalloc.workload.textformat import load

RECORDING = Path(__file__).parents[3] / "shared" / "data" / "strace" / "hello_build.strace.xz"
FIGURES = {
    "pipes_created", "pipes_refused", "map_ops", "unmap_ops", "tlb_shootdowns", "faults", "findspace_probes", "peak_live",
    "peak_mapped", "peak_resident",
}  # fmt: skip


@pytest.fixture
def program(coalloc: Any, tmp_path: Path) -> str:
    """Write a small pipe program to a file."""
    file = str(tmp_path / "small.pipes")
    assert coalloc("trace", "generate", "shell-pipeline", "pipelines=3", "-o", file).status == 0
    return file


def test_compare_without_arguments_shows_the_bundled_build(coalloc: Any) -> None:
    """Without arguments compare shows the bundled build, with a row for each figure and ratios to the first design."""
    result = coalloc("compare")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "GNU hello: ./configure && make -j2"
    assert lines[1].startswith("2,149 pipes, at most 6 alive, 0 at the end; 1,294,578 bytes written")
    header = next(line for line in lines if "per-pipe" in line)
    assert header.split() == ["per-pipe", "coalescing", "ratio", "coalescing+cache", "ratio"]
    row = next(line for line in lines if line.startswith("map operations"))
    assert row.split() == ["map", "operations", "4,300", "1", "1/4300", "1", "1/4300"]


def test_compare_ends_with_a_sentence_and_shows_how_far_prices_may_move(coalloc: Any) -> None:
    """The sentence names the winner; with --prices there is a row for each price that can change the order."""
    plain, result = coalloc("compare"), coalloc("compare", "--prices")
    assert (result.status, result.err) == (0, "")
    last = plain.out.splitlines()[-1]
    assert last.startswith("coalescing+cache has the lowest estimated cost, ")
    assert "at the price of 23.27 times the peak mapped bytes of per-pipe and 2.92 times the peak resident" in last
    assert result.out.splitlines()[-1] == last
    assert "order by estimated cost: coalescing+cache, coalescing, per-pipe\n" in result.out
    assert "\nNo price of map operations, unmap operations, pages freed, inter-processor" in result.out
    row = next(line for line in result.out.splitlines() if line.startswith("allocs carved from holes    120"))
    assert "coalescing before coalescing+cache" in row
    answer = json.loads(coalloc("compare", "--json").out)
    assert answer["sentence"] == last
    assert {move["event"] for move in answer["price_moves"]} == {"faults", "cache_hits", "carves", "coalesces"}


def test_pipes_may_be_given_to_a_user(coalloc: Any, tmp_path: Path) -> None:
    """With --uid a user's limits are met; a user id that cannot be, or a program without pipes, is refused."""
    file = str(tmp_path / "many.pipes")
    assert coalloc("trace", "generate", "exhaustion", "pipes=1100", "-o", file).status == 0
    root, user = (coalloc("compare", file, "--designs", "linux", *more) for more in ((), ("--uid", "1000")))
    assert "pipes created small" not in root.out
    row = next(line for line in user.out.splitlines() if line.startswith("pipes created small"))
    assert row.split()[-1] == "76"
    assert coalloc("map", file, "--design", "linux", "--uid", "1000").status == 0
    assert coalloc("compare", file, "--uid", "-1").status == 2
    space = str(tmp_path / "some.space")
    assert coalloc("trace", "generate", "churn", "live=4", "operations=9", "-o", space).status == 0
    result = coalloc("compare", space, "--uid", "5")
    assert (result.status, result.out) == (2, "")
    assert "only pipes have an owner" in result.err


def test_a_hyphen_is_standard_output(coalloc: Any) -> None:
    """-o - prints a program as no -o does, for each command that writes one."""
    for arguments in (
        ("trace", "generate", "exhaustion", "pipes=3"),
        ("trace", "generate", "churn", "live=4", "operations=9"),
    ):
        plain, hyphen = coalloc(*arguments), coalloc(*arguments, "-o", "-")
        assert (hyphen.status, hyphen.out) == (0, plain.out)
        assert plain.out.startswith("coalloc ")


def test_one_design_has_no_order_that_a_price_could_change(coalloc: Any) -> None:
    """--prices says so, and prints no empty table."""
    result = coalloc("compare", "--designs", "linux", "--prices")
    assert result.out.endswith("order by estimated cost: linux\nNo price changes the order.\n")


def test_info_tells_of_sizes_tries_and_owners(coalloc: Any, tmp_path: Path) -> None:
    """What version 2 of the format added is in the words of a program, where it is there."""
    file = tmp_path / "all.pipes"
    file.write_text(
        "coalloc pipe-program 2\n0 create 0 7\n1 create 1\n2 set-size 0 1 9\n3 try-write 0 1 9\n4 try-read 0 0 9\n"
    )
    shown = coalloc("trace", "info", str(file))
    assert "; owned by 2 users; changes of size: 1; tries to write: 1; tries to read: 1; " in shown.out
    assert json.loads(coalloc("trace", "info", str(file), "--json").out)["owners"] == 2


def test_compare_in_time_shows_what_locks_cost(coalloc: Any, program: str, tmp_path: Path) -> None:
    """A second table; the JSON has every lock; a program of buffers and numbers out of range are refused."""
    result = coalloc("compare", program, "--cpus", "4", "--designs", "per-pipe,dragonfly")
    assert (result.status, result.err) == (0, "")
    assert "in simulated time on 4 CPUs; which CPU an operation runs on is drawn from its pipe's number:" in result.out
    row = next(line for line in result.out.splitlines() if line.startswith("without a lock"))
    assert len(row.split()) == 6
    answer = json.loads(coalloc("compare", program, "--cpus", "4", "--json").out)
    assert answer["in_time"]["coalescing"]["cpus"] == 4
    assert {use["name"] for use in answer["in_time"]["coalescing"]["locks"]} <= {"arenas", "kernel map"}
    assert json.loads(coalloc("compare", program, "--json").out)["in_time"] is None
    known = tmp_path / "known.pipes"
    known.write_text("coalloc pipe-program 3\n0 create 0 @1\n5 close 0 0 @0\n", encoding="utf-8")
    told = coalloc("compare", str(known), "--cpus", "2", "--designs", "coalescing").out
    assert "on 2 CPUs" in told.splitlines()[1]
    assert "in simulated time on 2 CPUs; CPUs 0 to 1 are recorded, and taken modulo their number here:" in told
    known.write_text("coalloc pipe-program 3\n0 create 0\n5 close 0 0 @6\n", encoding="utf-8")
    some = coalloc("compare", str(known), "--cpus", "2", "--designs", "coalescing,linux")
    assert "CPUs 0 to 6 are recorded for 1 of 2 operations, and else drawn from the pipe's number" in some.out
    assert "linux is not replayed in time: the locks of its kernel are not modelled there" in some.err
    buffers = tmp_path / "buffers.space"
    buffers.write_text("coalloc space-program 1\nalloc 0 4096\n", encoding="utf-8")
    for arguments, words in (
        (("compare", str(buffers), "--cpus", "2"), "has no times"),
        (("compare", program, "--cpus", "0"), "must be in 1 .. 4096"),
        (("compare", program, "--cpus", "4097"), "must be in 1 .. 4096"),
    ):
        refused = coalloc(*arguments)
        assert (refused.status, refused.out) == (2, "")
        assert words in refused.err


def test_compare_as_json_prints_nothing_else(coalloc: Any) -> None:
    """With --json compare prints only JSON with the keys that scripts rely on, the same text at each run."""
    result = coalloc(
        "compare", "--json", "--designs", "coalescing,per-pipe", "--copies", "2", "--seed", "7", "--spread", "1.5"
    )
    assert (result.status, result.err) == (0, "")
    answer = json.loads(result.out)
    assert set(answer["designs"]) == {"coalescing", "per-pipe"}
    for figures in answer["designs"].values():
        assert set(figures) >= FIGURES
        assert all(type(figures[name]) is int for name in FIGURES)
    assert {name: answer["trace"][name] for name in ("pipes", "live_at_end", "bytes_written")} == {
        "pipes": 4298, "live_at_end": 0, "bytes_written": 2589156,
    }  # fmt: skip
    assert (answer["copies"], answer["seed"], answer["era"], answer["limit"]) == (2, 7, "2004-01", 64 << 20)
    assert (
        coalloc(
            "compare", "--json", "--designs", "coalescing,per-pipe", "--copies", "2", "--seed", "7", "--spread", "1.5"
        ).out
        == result.out
    )


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not beside the project")
def test_compare_reads_an_strace_log_directly(coalloc: Any) -> None:
    """Comparing the raw strace log gives the known figures of the recording."""
    result = coalloc("compare", str(RECORDING), "--json", "--designs", "coalescing")
    trace = json.loads(result.out)["trace"]
    assert (trace["pipes"], trace["peak_live"], trace["live_at_end"], trace["bytes_written"]) == (2149, 6, 0, 1294578)


@pytest.mark.parametrize("era", ["2003-07", "2006", "10.x", "current"])
def test_every_era_can_be_compared(coalloc: Any, program: str, era: str) -> None:
    """Every era can be compared, with a limit that is written as people write sizes."""
    result = coalloc("compare", program, "--era", era, "--limit", "512KiB", "--designs", "per-pipe,first-fit")
    assert result.status == 0
    assert f"era {era}:" in result.out


def test_refusals_show_the_console_lines(coalloc: Any, tmp_path: Path) -> None:
    """Compare shows the first three console lines and says that there are more."""
    file = str(tmp_path / "exhaustion.pipes")
    coalloc("trace", "generate", "exhaustion", "pipes=300", "-o", file)
    result = coalloc("compare", file, "--limit", "1M", "--designs", "coalescing")
    assert result.out.count("kern.ipc.maxpipekva exceeded; see tuning(7)") == 1
    lines = ["coalloc pipe-program 1", *(f"{n * 1100000} create {n}" for n in range(200))]
    Path(file).write_text("\n".join(lines))
    result = coalloc("compare", file, "--limit", "1M", "--designs", "coalescing")
    assert result.out.count("kern.ipc.maxpipekva exceeded; see tuning(7)") == 3
    assert "more such lines" in result.out
    assert "untitled program" in result.out


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_compare_draws_a_picture(coalloc: Any, program: str, tmp_path: Path, ending: str) -> None:
    """The name's ending chooses the kind of picture, and equal runs write equal files."""
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        result = coalloc("compare", program, "--plot", str(file))
        assert (result.status, result.err) == (0, f"coalloc: wrote {file}\n")
    content = files[0].read_bytes()
    assert content == files[1].read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        assert b"map operations so far" in content


def test_space_programs_can_be_compared_and_drawn(coalloc: Any, tmp_path: Path) -> None:
    """For a space program compare leaves out the figures of pipes, and refuses to make copies."""
    file = str(tmp_path / "churn.xz")
    result = coalloc("trace", "generate", "churn", "live=40", "operations=200", "-o", file, "--seed", "3")
    assert (result.out, result.err) == ("", f"coalloc: wrote {file}: 280 operations\n")
    result = coalloc("compare", file, "--plot", str(tmp_path / "x.png"))
    assert "requests refused" in result.out
    assert "pipes created" not in result.out
    assert coalloc("trace", "info", file).out.splitlines()[1] == (
        "280 operations: 140 allocs, 140 frees, 0 resizes; 0 buffers live at the end"
    )
    assert json.loads(coalloc("trace", "info", file, "--json").out)["allocs"] == 140
    assert coalloc("compare", file, "--copies", "2").status == 2
    result = coalloc("map", file, "--at", "40", "--design", "coalescing+cache")
    assert result.out.splitlines()[1].startswith("coalescing+cache, era 2004-01, after operation 40 of 280:")


def test_info_as_json_is_the_trace_object_of_compare(coalloc: Any, program: str) -> None:
    """The JSON of trace info is the trace object in the JSON of compare."""
    info = json.loads(coalloc("trace", "info", program, "--json").out)
    assert info == json.loads(coalloc("compare", program, "--json").out)["trace"]
    assert coalloc("trace", "info").out.splitlines()[0] == "GNU hello: ./configure && make -j2"


def test_generate_writes_to_standard_output(coalloc: Any) -> None:
    """Generate writes only the program to standard output, and reads sizes and 0 as parameters."""
    result = coalloc("trace", "generate", "comb", "teeth=4", "size=16K")
    assert result.out.splitlines()[:3] == [
        "coalloc space-program 1",
        "title comb of 4 teeth of 16384 bytes",
        "alloc 0 16384",
    ]
    assert coalloc("trace", "generate", "sawtooth", "cycles=1", "peak=2", "trough=0").status == 0


def test_import_writes_a_program(coalloc: Any, tmp_path: Path) -> None:
    """Import writes a program, and says on standard error what it found in the log."""
    log, out = tmp_path / "log", tmp_path / "out.gz"
    log.write_text("1 1700000000.000001 pipe([3, 4]) = 0\n1 1700000000.000009 close(3) = 0\nnoise\n")
    result = coalloc("trace", "import", str(log), "-o", str(out), "--title", "mine")
    assert result.status == 0
    assert "1 not understood" in result.err
    assert "1 pipes, at most 1 alive, 1 at the end" in result.err
    assert load(out).title == "mine"
    assert coalloc("trace", "import", str(log)).out.splitlines()[1] == "title imported from log"
    assert "log: 3 lines: 2 calls followed, " in coalloc("trace", "info", str(log)).out


def test_map_draws_arenas_with_a_legend(coalloc: Any) -> None:
    """Map draws the arenas with a legend at the end, at the peak or after a given operation."""
    result = coalloc("map", "--at", "end")
    assert "nothing is live at the end; without --at the fullest moment is shown" in result.out
    assert "# busy   c cached   . free   + a mixture" in result.out
    assert coalloc("map").out == coalloc("map", "--at", "peak").out
    result = coalloc("map", "--at", "peak", "--width", "16")
    assert "180,224 bytes live" in result.out
    assert "|+...............|   4% busy" in result.out
    assert "bytes live" in coalloc("map", "--design", "per-pipe", "--at", "100", "--copies", "2").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "no-such-file"], "there is no such file"),
        (["compare", "."], "is a folder"),
        (["compare", "--designs", "per-pipe,magic"], "'magic': is no design; there are per-pipe, coalescing"),
        (["compare", "--designs", ""], "is no design"),
        (["compare", "--era", "1999"], "is no era; there are 2003-07"),
        (["compare", "--limit", "lots"], "--limit='lots': write a size as"),
        (["compare", "--limit", "0"], "must be greater than 0"),
        (["compare", "--limit", "100"], "at least a page"),
        (["compare", "--limit", "-5M"], "write a size as"),
        (["compare", "--copies", "0"], "copies=0"),
        (["compare", "--copies", "many"], "--copies"),
        ([], "see --help"),
        (["trace"], "see --help"),
        (["compare", "--copies", "2", "--spread", "-1"], "spread"),
        (["compare", "--copies", "2", "--spread", "nan"], "spread"),
        (["compare", "--spread", "-5"], "spread"),
        (["map", "--at", "1" * 5000], "must be end, peak"),
        (["trace", "generate", "comb", "-o", "."], "is a folder"),
        (["trace", "generate", "comb", "size=4611686018427387904"], "must be an int in"),
        (["compare", "--plot", "x.pdf"], "must end in .svg or .png"),
        (["compare", "--plot", "no/such/folder/x.svg"], "its folder does not exist"),
        (["compare", "a", "b"], "unexpected extra argument"),
        (["compare", "--colour"], "--colour"),
        (["frobnicate"], "frobnicate"),
        (["map", "--at", "noon"], "must be end, peak, or a number"),
        (["map", "--at", "0"], "must be end, peak, or a number in 1 .. 27554"),
        (["map", "--width", "2"], "width"),
        (["map", "--design", "per-pipe,coalescing"], "one design is drawn"),
        (["trace", "info", "no-such-file"], "there is no such file"),
        (["trace", "import", "no-such-file"], "there is no such file"),
        (["trace", "import"], "LOG"),
        (["trace", "generate", "noise"], "is no generator; there are exhaustion"),
        (["trace", "generate", "churn", "size=3"], "churn takes live=1000, operations=100000"),
        (["trace", "generate", "churn", "live"], "write a number or size"),
        (["trace", "generate", "churn", "live=x"], "live=x': write a number"),
        (["map", "--design", "foo"], "--design='foo': is no design"),
        (["trace", "generate", "robson", "largest=3"], "must be a power of two"),
        (["trace", "generate", "comb", "-o", "no/such/folder/x"], "its folder does not exist"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_clear_line_and_status_2(coalloc: Any, arguments: list[str], words: str) -> None:
    """Bad usage prints one line on standard error, nothing on standard output, and exits with status 2."""
    result = coalloc(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("coalloc: error: ")
    assert result.err.count("\n") == 1
    assert words in result.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is neither a coalloc program nor an strace log"),
        (b"hello\nworld\n", "is neither a coalloc program nor an strace log"),
        (b"coalloc pipe-program 1\n# \xff\n", "bad, line 2: is not UTF-8 text"),
        (b"\xff\xfe\x00", "is UTF-16 text"),
        (b"coalloc pipe-program 1\n0 create 0\n0 write 0 1\n", "bad, line 3: write takes 4 numbers"),
        (b"coalloc pipe-program 9\n", "version '9' is not known"),
    ],
)
@pytest.mark.parametrize("command", [["compare"], ["trace", "info"], ["map"]], ids=" ".join)
def test_a_wrong_file_is_one_clear_line_and_status_1(
    coalloc: Any, tmp_path: Path, command: list[str], content: bytes, words: str
) -> None:
    """A wrong file exits with status 1 and one line that names the file and what is wrong in it."""
    file = tmp_path / "bad"
    file.write_bytes(content)
    result = coalloc(*command, str(file))
    assert (result.status, result.out) == (1, "")
    assert result.err.count("\n") == 1
    assert words in result.err
    assert str(file) in result.err


def test_the_version_can_be_asked_for(coalloc: Any) -> None:
    """The command line prints the version of the package."""
    assert coalloc("--version").out == f"coalloc {coalloc_version}\n"


def test_a_program_without_pipes_says_so(coalloc: Any, tmp_path: Path) -> None:
    """Comparing a program without pipes succeeds and says on standard error that there are none."""
    file = tmp_path / "empty"
    file.write_text("coalloc pipe-program 1\n")
    result = coalloc("compare", str(file))
    assert (result.status, result.err) == (0, "coalloc: there are no pipes in it\n")


def test_help_is_there_for_every_command(coalloc: Any) -> None:
    """Help is printed on standard output with status 0."""
    assert "compare" in coalloc("--help").out
    assert "--designs" in coalloc("compare", "--help").out
    result = coalloc("trace", "--help")
    assert "generate" in result.out
    assert (result.status, result.err) == (0, "")


def test_a_closed_standard_output_is_one_clear_line() -> None:
    """When a pager closes standard output, the command ends with status 1, one line and no traceback."""
    command = [sys.executable, "-m", "coalloc", "trace", "generate", "churn", "operations=20000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "coalloc space-program 1\n"
        process.stdout.close()
        assert process.stderr.read() == "coalloc: error: standard output was closed before all was written\n"
    assert process.returncode == 1


def test_an_unwritable_plot_is_one_clear_line(coalloc: Any, program: str, tmp_path: Path) -> None:
    """A picture that cannot be written exits with status 1 and one line that names its path."""
    folder = tmp_path / "taken.svg"
    folder.mkdir()
    result = coalloc("compare", program, "--plot", str(folder))
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert str(folder) in result.err


def test_a_pipe_is_read_once(coalloc: Any, tmp_path: Path, program: str) -> None:
    """A trace can be read from a FIFO, although its beginning is looked at to tell its kind."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cp", program, str(fifo)]):
        result = coalloc("trace", "info", str(fifo), "--json")
    assert json.loads(result.out) == json.loads(coalloc("trace", "info", program, "--json").out)


def test_without_a_standard_output_the_job_fails(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a standard output the command fails with status 1."""
    monkeypatch.setattr(sys, "stdout", None)
    assert coalloc("compare").status == 1


def test_any_title_can_be_shown_and_drawn(coalloc: Any, tmp_path: Path) -> None:
    """A title with letters that the terminal lacks, or with signs of mathematics, can be shown and drawn."""
    file = tmp_path / "odd.pipes"
    file.write_text("coalloc pipe-program 1\ntitle costs $\\foo{$ caf\u00e9\n0 create 0\n", encoding="utf-8")
    assert coalloc("compare", str(file), "--plot", str(tmp_path / "x.svg")).status == 0
    command = [sys.executable, "-m", "coalloc", "trace", "info", str(file)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert "caf\\xe9" in result.stdout


def test_an_interrupt_is_one_line(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt prints one line and exits with status 130, as in a shell."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coalloc.cli.programs.bundled_build", interrupt)
    result = coalloc("compare")
    assert (result.status, result.err) == (130, "coalloc: error: interrupted\n")


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is not the user's fault is raised with its traceback."""
    monkeypatch.setattr("coalloc.cli.programs.bundled_build", functools.partial(divmod, 1, 0))
    with pytest.raises(ZeroDivisionError):
        cli.run(["compare"])


def test_progress_is_shown_on_a_terminal_only(coalloc: Any, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Progress is shown on standard error, and only on a terminal."""
    quiet = coalloc("compare", program)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    loud = coalloc("compare", program, "--json")
    assert json.loads(loud.out)
    assert "per-pipe" in loud.err
    assert quiet.err == ""


# --- what could not be read, and what would be too much ---------------------------------------------------------------


def test_problems_are_listed_with_their_lines(coalloc: Any, tmp_path: Path) -> None:
    """Each line that was not understood or followed is listed with its number and what is wrong, as text and as JSON."""
    log = tmp_path / "log"
    log.write_text(
        "1 1795444107.000000 pipe([3, 4]) = 0\nrubbish\n1 1795444107.000001 close(4) = 0\n"
        '1 1795444107.000002 write(4, "abc", 3) = 3\n1 1795444107.000003 <... read resumed>) = 3\n'
        "1 1795444107.000004 clone(child_stack=NULL) = 77\n1 1795444107.000005 read(3, <unfinished ...>\n"
    )
    shown = coalloc("trace", "info", str(log), "--problems").out
    assert shown.splitlines()[-3:] == [
        "line 2: is not a line of strace",
        "line 5: the first half of this read is missing",
        "line 7: this read never returned",
    ]
    assert "1 children whose calls are not in the log: record with strace -f" in shown
    told = json.loads(coalloc("trace", "info", str(log), "--problems", "--json").out)["log"]
    assert [problem["line"] for problem in told["problems"]] == [2, 5, 7]
    assert "problems" not in json.loads(coalloc("trace", "info", str(log), "--json").out)["log"]
    assert coalloc("trace", "info", "--problems").out.splitlines()[-1] == "no problems"


def test_a_program_is_read_from_standard_input(coalloc: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The name - stands for standard input, which may be compressed."""
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(b"coalloc pipe-program 1\ntitle from elsewhere\n0 create 0\n"))
    with open(packed, encoding="latin-1") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert coalloc("trace", "info", "-").out.splitlines()[0] == "from elsewhere"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "--copies", "1000000000"], "would be 27,554,000,000,000 operations and take 4,133,100 GB"),
        (["compare", "--copies", "3", "--max-operations", "50000"], "would be 82,662 operations"),
        (["compare", "--max-size", "lots"], "--max-size='lots'"),
    ],
)
def test_what_would_be_too_much_is_refused_with_what_it_would_take(
    coalloc: Any, arguments: list[str], words: str
) -> None:
    """A number that a typing error may have made is refused before any work."""
    result = coalloc(*arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(coalloc: Any, tmp_path: Path) -> None:
    """Nothing is replayed when the picture has no place; a trial leaves no file."""
    (tmp_path / "folder.svg").mkdir()
    result = coalloc("compare", "--plot", str(tmp_path / "folder.svg"))
    assert (result.status, result.out) == (1, "")
    assert "Is a directory" in result.err
    assert coalloc("compare", "nothing-here", "--plot", str(tmp_path / "x.svg")).status == 2
    assert not (tmp_path / "x.svg").exists()


def test_designs_that_did_different_work_are_told_first(coalloc: Any, tmp_path: Path) -> None:
    """What one design refused and another served is said in a note and in the JSON; the table has rows for what failed."""
    program = tmp_path / "two.pipes"
    program.write_text(
        "coalloc pipe-program 1\n0 create 0\n10 create 1\n20 write 0 1 10\n30 write 1 1 10\n40 read 0 0 10\n50 read 1 0 10\n"
    )
    options = (str(program), "--era", "10.x", "--limit", "4K", "--designs", "per-pipe,linux")
    result = coalloc("compare", *options)
    assert "the designs did different work" in result.err
    assert "writes that found no buffer: per-pipe 1, linux 0" in result.err
    rows = {line[:30].strip(): line.split()[-3:] for line in result.out.splitlines()}
    assert rows["writes failed: no buffer"] == ["1", "0", "0"]
    assert rows["reads unfinished at the end"][0] == "1"
    told = json.loads(coalloc("compare", *options, "--json").out)
    assert told["different_work"].startswith("writes that found no buffer")
    assert told["designs"]["per-pipe"]["writes_without_buffer"] == 1
    assert json.loads(coalloc("compare", "--json").out)["different_work"] is None
