"""Tables at any width: what does not fit is wrapped or printed in parts, and no digit and no label is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest

from coalloc.cli.common import new_table, print_table

DESIGNS = "coalescing,vmem,dragonfly,netbsd,openbsd,linux,per-pipe,coalescing+cache"


def numbers(text: str) -> list[str]:
    """Return the words of a table that are numbers."""
    return sorted(re.findall(r"(?<=\s)[\d,./]+(?=\s)", text + "\n"))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100])
def test_compare_loses_nothing_at_any_width(coalloc: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Every figure of eight designs is shown whole, and the lines of the table fit."""
    whole = coalloc("compare", "--designs", DESIGNS).out.partition("\n\n")[2]
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = coalloc("compare", "--designs", DESIGNS).out.partition("\n\n")[2]
    assert "…" not in narrow
    shown = [line for line in narrow.splitlines() if not line.startswith("estimated with")]
    assert max(map(len, shown)) <= max(width, 40)
    assert numbers(narrow) == numbers(whole)
    for design in DESIGNS.split(","):
        assert design in narrow


def test_a_table_without_room_is_printed_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a label and a value do not fit beside each other, each value has a line of its own."""
    monkeypatch.setenv("COLUMNS", "12")
    table = new_table()
    table.add_column("")
    table.add_column("design", no_wrap=True)
    table.add_column("other", no_wrap=True)
    table.add_row("incomprehensibilities", "1,234,567", "1")
    print_table(table)
    assert capsys.readouterr().out == (
        "incomprehensibilities\n  design: 1,234,567\n\nincomprehensibilities\n  other: 1\n"
    )
