"""Helpers that the commands share: options, progress, notes, and the packages that only the command line needs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

from coalloc._imports import needs_extra
from coalloc.designs import find_designs
from coalloc.errors import message
from coalloc.native import NativeFactory
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.pipes.states import ERAS
from coalloc.scenarios.options import EraName, Prices, Size
from coalloc.space.picture import LEGEND
from coalloc.vm.costs import CostModel

with needs_extra("cli"):
    import typer
    from rich.console import Console
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table
    from rich.text import Text

if TYPE_CHECKING:
    from rich.measure import Measurement
    from rich.progress import TaskID

__all__ = [
    "Bar",
    "CostsOption",
    "EraOption",
    "JsonOption",
    "LimitOption",
    "SeedOption",
    "costs_given",
    "designs_named",
    "era_named",
    "kept_output",
    "new_table",
    "note",
    "played",
    "print_json",
    "print_map",
    "print_table",
    "say_notes",
    "size_given",
]

_WIDTH_WITHOUT_TERMINAL = 160

SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn at random.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
EraOption = Annotated[str, typer.Option("--era", help=f"Whose pipe policy: {', '.join(ERAS)}.")]
CostsOption = Annotated[
    str, typer.Option("--costs", metavar="FILE", help="Prices that coalloc costs measure -o wrote; unit for 1 each.")
]
LimitOption = Annotated[str, typer.Option("--limit", help="maxpipekva, such as 64M, 8704000 or 512KiB.")]


def era_named(name: str) -> KernelState:
    """Return the kernel state of ``--era``."""
    return EraName().read("--era", name)


def size_given(option: str, text: str) -> int:
    """Return the size that an option gives, in bytes."""
    return Size().read(option, text)


def costs_given(text: str) -> CostModel:
    """Return the prices of ``--costs``; those of the preset ``measured`` if there is none."""
    return Prices().read("--costs", text or "measured")


def designs_named(option: str, names: str) -> tuple[Design, ...]:
    """Return the designs that an option names, by any TARGET."""
    found = find_designs(names, option)
    say_notes(design.maker for design in found)
    return found


class Bar:
    """Progress on standard error, when that is a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False)

    def say(self, text: str) -> None:
        """Say what comes next, where somebody watches."""
        if self._console.is_terminal:
            self._console.print(f"{text} ...", style="dim", highlight=False)

    @contextlib.contextmanager
    def task(self, text: str, total: int | None) -> Iterator[Any]:
        """Show one task; yields what to call with the number done so far, or None where nobody watches."""
        if not self._console.is_terminal:
            yield None
            return
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self._console, transient=True) as progress:
            task: TaskID = progress.add_task(text, total=total)
            yield lambda done, of=total: progress.update(task, completed=done, total=of)


def print_json(value: object) -> None:
    """Print a value as JSON, with sorted keys."""
    print(json.dumps(value, indent=2, sort_keys=True))


@contextlib.contextmanager
def kept_output() -> Iterator[None]:
    """Print what the block prints when it ends; if standard output takes no more, print it on standard error.

    Raises:
        OSError: If standard output takes no more.
    """
    kept = io.StringIO()
    try:
        with contextlib.redirect_stdout(kept):
            yield
    finally:
        try:
            print(kept.getvalue(), end="", flush=True)
        except BrokenPipeError:
            raise  # the reader has gone, and wanted no more
        except OSError:
            print(kept.getvalue(), end="", file=sys.stderr)
            raise


def note(text: str) -> None:
    """Say something on standard error."""
    print(f"coalloc: {message(text, 1000)}", file=sys.stderr)


def say_notes(factories: Iterable[object]) -> None:
    """Say what the compiler said of allocators in C, and what of their contracts cannot be judged."""
    for factory in factories:
        if isinstance(factory, NativeFactory):
            if factory.warnings:
                print(factory.warnings.rstrip(), file=sys.stderr)
            for text in factory.unjudged():
                note(text)


def print_words(text: str) -> None:
    """Print a sentence in lines as wide as the terminal or ``COLUMNS`` says; in one line where neither does."""
    console = Console()
    if console.is_terminal or "COLUMNS" in os.environ:
        text = textwrap.fill(text, max(console.width, 20), break_long_words=False, break_on_hyphens=False)
    print(text)


_MAP_STYLES = {"#": "bold blue", "c": "yellow", "+": "cyan", ".": "dim"}
"""The styles of the characters of a map, where there is a terminal."""


def _map_text(picture: str) -> Text:
    """Return a picture of arenas in colour; only what stands between two bars is coloured, or a word of the legend."""
    text = Text(picture)
    for row in re.finditer(r"\|([#c.+]+)\||^(?:# busy.*)$", picture, re.MULTILINE):
        marks = re.finditer(r"([#c.+])\1*", row[1]) if row[1] else re.finditer(r"(?<!\w)([#c.+])(?= )", row[0])
        start = row.start(1) if row[1] else row.start()
        for mark in marks:
            text.stylize(_MAP_STYLES[mark[1]], start + mark.start(), start + mark.end())
    return text


def print_map(picture: str) -> None:
    """Print a picture of arenas, in colour where there is a terminal that has colours; NO_COLOR is respected."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_map_text(picture), soft_wrap=True)
    else:
        print(picture)


@contextlib.contextmanager
def played(title: str, pause: float) -> Iterator[Callable[[str], None]]:
    """Yield what shows one picture after the other: in place on a terminal, one below the other elsewhere.

    Args:
        title: What stands above each picture.
        pause: Seconds between two pictures on a terminal.
    """
    console = Console(file=sys.stdout, highlight=False)  # which stays what it is, wherever else prints go
    if not console.is_terminal:
        print(title, file=console.file)
        yield lambda picture: print(f"\n{picture}", file=console.file)
        print(f"\n{LEGEND}", file=console.file)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def show(picture: str) -> None:
            live.update(_map_text(f"{title}\n{picture}\n{LEGEND}"), refresh=True)
            time.sleep(pause)

        yield show


def new_table() -> Table:
    """Return an empty table as all commands show them."""
    return Table(box=None, pad_edge=False, header_style="bold", show_edge=False)


def print_table(table: Table) -> None:
    """Print a table on standard output: as wide as the terminal or ``COLUMNS`` says, or wide enough where neither does.

    A table that is too wide is printed in parts, each with the first column; a column called "ratio" stays with the one before
    it.  Where not even one column fits beside the first, each row is printed as lines.  No cell is ever cut.
    """
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, markup=False, width=_WIDTH_WITHOUT_TERMINAL)
    for number, part in enumerate(_parts(table, console)):
        if number:
            print()
        if isinstance(part, str):
            print(part)
            continue
        with console.capture() as captured:
            console.print(part)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _parts(table: Table, console: Console) -> Iterator[Table | str]:
    """Yield the table, or parts of it that are not too wide."""
    if _widths(table, console).maximum <= console.width:
        yield table
        return
    units: list[list[int]] = []
    for number in range(1, len(table.columns)):
        if units and table.columns[number].header == "ratio":
            units[-1].append(number)
        else:
            units.append([number])
    chosen: list[int] = []
    for unit in [*units, []]:
        wider = _part(table, [0, *chosen, *unit])
        if unit and (_widths(wider, console).maximum <= console.width or not chosen):
            chosen += unit
            continue
        if chosen:
            part = _part(table, [0, *chosen])
            narrow = _widths(part, console).minimum <= console.width
            yield part if narrow else _in_lines(part)
        chosen = list(unit)


def _widths(table: Table, console: Console) -> Measurement:
    """Return how wide a table is if its labels are wrapped at every word, and if nothing is wrapped."""
    return console.measure(table, options=console.options.update(width=10_000))


def _part(table: Table, columns: list[int]) -> Table:
    """Return a table with some columns of another."""
    part = new_table()
    for number in columns:
        column = table.columns[number]
        part.add_column(
            column.header, justify=column.justify, style=column.style, no_wrap=column.no_wrap, overflow="fold"
        )
    for cells in zip(*(list(table.columns[number].cells) for number in columns), strict=True):
        part.add_row(*cells)
    return part


def _in_lines(table: Table) -> str:
    """Return each row of a table as lines, one for each cell, under the first."""
    headers = [str(column.header) for column in table.columns]
    lines = []
    for first, *cells in zip(*(list(column.cells) for column in table.columns), strict=True):
        lines.append(str(first))
        lines += [f"  {header}: {cell}" for header, cell in zip(headers[1:], cells, strict=True)]
    return "\n".join(lines)
