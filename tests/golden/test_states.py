"""The documentation's table of kernel states is made from the records."""

from __future__ import annotations

from pathlib import Path

from coalloc import STATES
from coalloc.report import states_table

PAGE = Path(__file__).parents[2] / "docs" / "pipes.md"
REGENERATE = (
    "the table of docs/pipes.md is made by: python -c "
    "'from coalloc import STATES; from coalloc.report import states_table; print(states_table(STATES.values()))'"
)


def test_the_page_of_pipes_shows_every_kernel_state() -> None:
    """The page holds the table as it is made from the records now."""
    assert states_table(STATES.values()) + "\n" in PAGE.read_text(encoding="utf-8"), REGENERATE
