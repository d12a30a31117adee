"""The documentation's table of kernel states is made from the records."""

from __future__ import annotations

from pathlib import Path

from coalloc import STATES
from coalloc.report import life_table, states_table

PAGE = Path(__file__).parents[2] / "docs" / "pipes.md"
REGENERATE = (
    "the tables of docs/pipes.md are made by: python -c 'from coalloc import STATES; from coalloc.report import *; "
    "print(states_table(STATES.values())); print(life_table(STATES.values()))'"
)


def test_the_page_of_pipes_shows_every_kernel_state() -> None:
    """The page holds both tables as they are made from the records now."""
    for table in (states_table, life_table):
        assert table(STATES.values()) + "\n" in PAGE.read_text(encoding="utf-8"), REGENERATE
