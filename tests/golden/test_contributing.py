"""The pages that add one more of a kind are short, complete, and leave nothing behind."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 20
SECTIONS = dict(
    re.findall(
        r"^## (?:A|An) (.+?)$(.*?)(?=^## |\Z)",
        (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)
ROOMS = tuple(
    room
    for layer in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][
        0
    ]["layers"][::-1]
    for room in layer.replace("coalloc.", "").split(" : ")
)  # fmt: skip


def test_there_is_a_page_for_each_kind_of_thing() -> None:
    """A design, a kernel state, a scenario, a trace format, a directed check, a mutant."""
    assert list(SECTIONS) == ["design", "kernel state", "scenario", "trace format", "directed check", "mutant"]


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_page_has_at_most_twenty_lines_and_names_the_file_of_a_permanent_one(kind: str) -> None:
    """Its heading counts; blank lines and the fences around the code do not."""
    lines = [line for line in SECTIONS[kind].splitlines() if line.strip() and not line.startswith("```")]
    assert len(lines) + 1 <= MOST_LINES
    named = re.findall(r"`(coalloc/[\w/.]+)`", SECTIONS[kind])
    assert named
    assert all((ROOT / name).exists() for name in named)
    assert "```python" in SECTIONS[kind]


def test_the_table_of_rooms_names_every_room_in_the_order_of_imports() -> None:
    """The rooms are those of the contract that import-linter checks, from the bottom up."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1:-1]
        for line in text.partition("## Where things live")[2].partition("## Tests")[0].splitlines()
        if line[:1] == "|"
    ]
    named = [name.strip("/") for row in rows[2:] for name in re.findall(r"`([^`]+)`", row[1])]
    assert sorted(named) == sorted(ROOMS)
    layer = {name.strip("/"): int(row[0]) for row in rows[2:] for name in re.findall(r"`([^`]+)`", row[1])}
    assert [layer[room] for room in ROOMS] == sorted(layer.values())
    assert all(len(row) == 4 for row in rows)


def test_the_table_of_rooms_names_modules_that_there_are() -> None:
    """Every module that a row names stands in the room of that row, and every module of a room is named."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        found = re.match(r"\| \d+ \| `(\w+)/` \| (.*?) \|", line)
        if found is None or found[1] == "cli":
            continue
        folder = ROOT / "coalloc" / found[1]
        there = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
        there |= {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
        named = {name.strip("/") for name in re.findall(r"`(\w+/?)`", found[2])}
        assert named == there, found[1]


def test_the_reference_lists_every_public_module_once() -> None:
    """In the order of the rooms; the command line is described on pages of its own."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"automodule:: (\S+)", page)
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "coalloc").rglob("*.py")]
    public = [".".join(path.parts) for path in paths if not any(part.startswith("_") for part in path.parts)]
    assert sorted(listed) == sorted(name for name in public if not name.startswith("coalloc.cli"))
