"""Show a :class:`~coalloc.scenarios.result.Result`: its text and tables laid out for the terminal, or its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from coalloc.cli.common import new_table, note, print_json, print_table
from coalloc.errors import CoallocError
from coalloc.scenarios.result import Result, Table

__all__ = ["show_result"]


def show_result(result: Result, pictures: Iterable[Path] = (), *, as_json: bool) -> None:
    """Print a result, say which pictures were written, and end with status 1 if it failed.

    Args:
        result: The result.
        pictures: The files of the pictures.
        as_json: Whether to print JSON and nothing else.
    """
    if as_json:
        print_json(result.as_json())
    else:
        for part in result.parts():
            if isinstance(part, Table):
                _print_table(part)
            else:
                print(part)
    for path in pictures:
        note(f"wrote {path}")
    if result.failure:
        raise CoallocError(result.failure)
    if result.failed:
        raise typer.Exit(1)


def _print_table(table: Table) -> None:
    shown = new_table()
    for column in table.columns:
        shown.add_column(column.name, justify="right" if column.right else "left", no_wrap=column.no_wrap)
    for row in table.rows:
        shown.add_row(*row)
    print_table(shown)
