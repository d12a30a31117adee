"""The examples of the documentation print what it says, and its commands run."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from coalloc import cli
from tests import NIGHTLY, may_record, may_trace, some

ROOT = Path(__file__).parents[2]
PROTOTYPES = sorted((ROOT / "docs" / "examples" / "prototypes").glob("*.py"))
EXAMPLES = [*sorted((ROOT / "docs" / "examples").glob("*.py")), *PROTOTYPES]
ALLOCATORS = ROOT / "docs" / "examples" / "allocators"
MOST_LINES = 30
"""Of a prototype, blank ones not counted."""
FEWER = {"--pipes": "300", "--copies": "2", "--pages": "4", "--ops": "2", "--examples": "20", "--times": "50"}
MORE = {
    "soak": ("--operations", "500"),
    "check": ("--examples", "10"),
    "mutants": ("--timeout", "100"),
    "scalability": ("--count", "256"),
    "mail": ("--limit", "2M"),
    "locks": ("--pipes", "100"),
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[list[str]]:
    """Return the arguments of every ``$ coalloc ...`` line of every page, in order."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [shlex.split(line)[2:] for line in block.splitlines() if line.startswith("$ coalloc ")]
    return found


def sequences() -> dict[str, list[tuple[str, ...]]]:
    """Return each command once, followed by the later commands that read a file which it writes."""
    found: dict[str, list[tuple[str, ...]]] = {}
    writers: dict[str, list[tuple[str, ...]]] = {}
    for arguments in dict.fromkeys(map(tuple, commands())):
        if arguments[1:] in (("mail",), ("windows",)):
            continue  # what these print is compared below
        sequence = next((writers[name] for name in writers if any(name in word.split(",") for word in arguments)), None)
        if sequence is None:
            sequence = found[" ".join(arguments)] = []
        sequence.append(arguments)
        if arguments[:2] == ("native", "new"):
            writers[f"{arguments[2]}.c"] = sequence
        if "-o" in arguments:
            writers[arguments[arguments.index("-o") + 1]] = sequence
    return found


SEQUENCES = sequences()
CHECKS = [name for name in SEQUENCES if name.startswith("check ")]
TIMED = [name for name in SEQUENCES if name.startswith("explore ") and "--seconds" in name]
QUICK = [
    name for name in SEQUENCES if (name not in CHECKS or name in some(CHECKS, 5)) and (name not in TIMED or NIGHTLY)
]
"""A check takes seconds, so that a quick run has one of five; what is told to take a minute runs nightly."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_the_page_shows(example: Path) -> None:
    """Each example prints exactly the output that its page shows."""
    result = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True)
    assert result.stdout == example.with_suffix(".out").read_text(encoding="utf-8")


@pytest.mark.parametrize("prototype", PROTOTYPES, ids=lambda path: path.stem)
def test_a_prototype_is_short_and_uses_public_names_only(prototype: Path) -> None:
    """At most 30 lines of code; no attribute and no import begins with an underscore, but for the language's own."""
    text = prototype.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES
    names = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(ast.parse(text)) for alias in getattr(node, "names", ())}
    assert {name for name in names if name.startswith("_")} <= {"__init__"}


def test_the_pages_commands_are_found() -> None:
    """Every command of the pages is found once, and a command that reads a file runs after the one that writes it."""
    ran = [arguments for sequence in SEQUENCES.values() for arguments in sequence]
    assert {("check", "magazines.py:Magazines"), ("check", "arenas_per_size.py:ArenasPerSize", "--seconds", "2")} <= {
        *ran
    }
    assert len(ran) == len(set(ran)) > 10
    assert set(ran) | {("scenario", "mail"), ("scenario", "windows")} == {*map(tuple, commands())}
    assert ["trace", "trace"] in [[arguments[0] for arguments in sequence] for sequence in SEQUENCES.values()]


@pytest.mark.usefixtures("build_read_once")
@pytest.mark.parametrize("name", QUICK)
def test_a_command_of_the_pages_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command of the pages runs in a folder that holds only the page's allocators."""
    monkeypatch.chdir(tmp_path)
    for file in [*ALLOCATORS.glob("*.py"), *EXAMPLES]:
        shutil.copy(file, tmp_path)
    if name.startswith("record "):
        words = name.split()
        tool = words[words.index("--with") + 1] if "--with" in words else "strace"
        if not (may_trace() if tool == "strace" else may_record(tool)):
            pytest.skip(f"{tool} is not installed, or may not trace")
        (tmp_path / "Makefile").write_text("all: a b\na b:\n\techo $@ | cat | wc -c\n")
    for arguments in SEQUENCES[name]:
        few = [FEWER.get(before, word) for before, word in pairwise(["", *arguments])]  # enough to see it run
        with pytest.raises(SystemExit) as caught:
            cli.run([*few, *MORE.get(arguments[arguments[0] == "scenario"], ())])
        captured = capsys.readouterr()
        assert caught.value.code == ("buggy" in arguments[-1]), (arguments, captured.err)


@pytest.mark.parametrize("allocator", sorted(ALLOCATORS.glob("*.py")), ids=lambda path: path.stem)
def test_the_kits_verdicts_are_as_the_page_shows_them(
    allocator: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The check of each example allocator, with all the time that it needs, prints exactly the text that the page shows."""
    monkeypatch.chdir(ALLOCATORS)
    with pytest.raises(SystemExit) as caught:
        cli.run(["check", f"{allocator.name}:FirstFit", "--seconds", "0", "--timeout", "60"])
    assert caught.value.code == ("buggy" in allocator.name)
    assert capfd.readouterr().out == allocator.with_suffix(".txt").read_text(encoding="utf-8")


def test_a_difference_is_shown_as_the_page_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page of ``coalloc diff`` shows what the command prints."""
    monkeypatch.chdir(ALLOCATORS)
    with pytest.raises(SystemExit) as caught:
        cli.run(["diff", "first_fit.py:FirstFit", "first_fit_buggy.py:FirstFit", "--timeout", "60"])
    assert caught.value.code == 1
    assert capsys.readouterr().out == (ROOT / "docs" / "examples" / "diff.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mail", "windows"])
def test_a_scenario_prints_what_the_page_shows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The scenarios mail and windows print exactly the text that the page shows."""
    with pytest.raises(SystemExit) as caught:
        cli.run(["scenario", name])
    assert caught.value.code == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "examples" / f"{name}.txt").read_text(encoding="utf-8")


def test_every_word_of_the_glossary_is_used_in_the_package() -> None:
    """Every term in the left column of the glossary's tables occurs in the package as a whole word."""
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if line.startswith("| `") for word in re.findall("`([^`]+)`", line.split("|")[1])]
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "coalloc").rglob("*.py"))
    assert {"arena", "space", "segment", "hole", "kva_limit", "Fit.CLASS_BEST"} <= {*words}
    assert [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sources)] == []


def test_the_facade_exports_what_it_says_sorted_and_all_of_it() -> None:
    """The list of exported names is sorted, free of duplicates, and names only what exists."""
    import coalloc

    assert coalloc.__all__ == sorted(set(coalloc.__all__))
    assert all(hasattr(coalloc, name) for name in coalloc.__all__)


def test_the_core_needs_attrs_and_sortedcontainers_only() -> None:
    """Importing coalloc and replaying with it load none of the extras."""
    code = (
        "import sys; import coalloc; "
        "coalloc.replay(coalloc.bundled_build(), coalloc.DESIGNS['per-pipe'], era=coalloc.ERAS['2006'], limit=1 << 20); "
        "print(sorted({'typer', 'rich', 'matplotlib', 'hypothesis', 'numpy', 'pytest'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
