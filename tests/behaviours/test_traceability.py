"""Every behaviour of docs/behaviours.md has a test, and no test names one that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "behaviours.md").read_text(encoding="utf-8")
ROWS = {int(n): cells for n, cells in re.findall(r"^\| B(\d+) \| (.*) \|$", PAGE, re.MULTILINE)}
TESTS: dict[int, set[str]] = {}
for file in (ROOT / "tests").rglob("test_*.py"):
    for number in re.findall(r"^def test_b(\d+)_", file.read_text(encoding="utf-8"), re.MULTILINE):
        TESTS.setdefault(int(number), set()).add(file.name)


def test_the_page_lists_all_behaviours_once() -> None:
    """The page lists B1 to B78 in order, each with words, eras, evidence and tests."""
    assert list(ROWS) == list(range(1, 79))
    for cells in ROWS.values():
        words, eras, evidence, tests = cells.split(" | ")
        assert words
        assert eras
        assert tests
        assert all(re.match(r"(src|mail|calc)\b|[A-Z]+\w*( to \w+| tests)?$", part) for part in evidence.split(", "))


def test_every_behaviour_has_its_tests_in_the_files_that_the_page_names() -> None:
    """The page names exactly the files that hold tests of each behaviour."""
    assert {number: set(cells.split(" | ")[3].split(", ")) for number, cells in ROWS.items()} == TESTS


def test_no_docstring_names_an_unknown_behaviour() -> None:
    """Every behaviour number in the package lies between B1 and B78."""
    for file in (ROOT / "coalloc").rglob("*.py"):
        for number in re.findall(r"\bB(\d+)\b", file.read_text(encoding="utf-8")):
            assert 1 <= int(number) <= 78, file
