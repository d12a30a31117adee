"""`save_page`: a comparison as one HTML file that opens without a network, drawn with Bokeh, which is an extra.

The page has the sentence that decides, the figures behind it, a film of the arenas of each design, bytes and map operations
over time, fragmentation, where the estimate goes, the designs against each other, and how all of it was made.
"""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from coalloc import __version__
from coalloc._imports import needs_extra
from coalloc.errors import InvalidRequestError
from coalloc.experiments.film import Film
from coalloc.report.page_pictures import (
    draw_bytes,
    draw_costs,
    draw_films,
    draw_fragmentation,
    draw_front,
    draw_map_operations,
)
from coalloc.report.ranking import sentence
from coalloc.report.tables import (
    comparison_rows,
    differing_work,
    trace_figures,
    trace_words,
)
from coalloc.vm.costs import CostModel
from coalloc.workload.program import Program

if TYPE_CHECKING:
    from bokeh.models import LayoutDOM

__all__ = ["Making", "page", "require_page", "save_page"]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #c8c8c8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --line: #4a4a4a; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem;
  padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.sentence { border-left: .3rem solid #0072B2; padding: .2rem 0 .2rem 1rem; font-size: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.note { color: #767676; }
@media print { body { max-width: none; } h2 { break-after: avoid; } .bk-Column, figure { break-inside: avoid; } }
"""


@attrs.frozen
class Making:
    """How a page was made.

    Args:
        command: The command line.
        program: The program.
        digest: The beginning of the program's SHA-256.
        era: Name and title of the kernel state.
        limit: maxpipekva in bytes.
        seed: The seed of everything that was drawn.
        copies: Copies of the program that ran at once.
    """

    command: str
    program: Program
    digest: str
    era: str
    limit: int
    seed: int
    copies: int


def require_page(path: str | PathLike[str]) -> None:
    """Check that a page can be written under this name, before the work.

    Raises:
        InvalidRequestError: If the name does not end in ``.html``, or its folder does not exist.
        MissingExtraError: If Bokeh is not installed.
    """
    name = Path(path)
    if name.suffix != ".html" or name.is_dir():
        raise InvalidRequestError("output", fspath(path), "the name must end in .html")
    if not name.parent.is_dir():
        raise InvalidRequestError("output", fspath(path), "its folder does not exist")
    with needs_extra("report"):
        import bokeh  # noqa: F401 (is it there?)


def save_page(films: Sequence[Film], costs: CostModel, making: Making, path: str | PathLike[str]) -> None:
    """Write the page of a comparison.

    Args:
        films: A film of each design, at least one; the first is what the others are compared with.
        costs: The prices of the estimates.
        making: How it was made.
        path: Where it is written.

    Raises:
        InvalidRequestError: As :func:`require_page`.
        MissingExtraError: If Bokeh is not installed.
        OSError: If the file cannot be written.
    """
    require_page(path)
    text = page(films, costs, making)
    Path(path).write_text(text, encoding="utf-8")


def page(films: Sequence[Film], costs: CostModel, making: Making) -> str:
    """Return the page of a comparison as HTML; the arguments are those of :func:`save_page`."""
    with needs_extra("report"):
        from bokeh.embed import components
        from bokeh.resources import INLINE
    sections: list[tuple[str, str, LayoutDOM]] = [
        ("film", "Where buffers lie", draw_films(films)),
        ("bytes", "Bytes over time", draw_bytes(films)),
        ("maps", "Map operations over time", draw_map_operations(films)),
        ("holes", "External fragmentation over time", draw_fragmentation(films)),
        ("costs", "Where the estimate goes", draw_costs(films, costs)),
        ("front", "The designs against each other", draw_front(films, costs)),
    ]
    script, divisions = components({name: layout for name, _, layout in sections})
    body = [f"<h1>{html.escape(making.program.title or 'untitled program')}</h1>"]
    outcomes = [film.outcome for film in films]
    body.append(f"<p>{html.escape(trace_words(trace_figures(making.program)))}</p>")
    said = sentence(outcomes, costs)
    if said:
        body.append(f'<p class="sentence">{html.escape(said)}</p>')
    if differing := differing_work(outcomes):
        body.append(f"<p><strong>The designs did different work:</strong> {html.escape(differing)}</p>")
    for name, title, _ in sections:
        body.append(f"<h2>{title}</h2>")
        if words := _WORDS.get(name):
            body.append(f'<p class="note">{words}</p>')
        body.append(divisions[name])
        if name == "film":
            body += [f'<p class="note">{html.escape(line)}</p>' for line in _left_out(films)]
    body.append("<h2>The figures</h2>")
    body.append(_table(films, costs, making.program))
    body.append("<h2>How it was made</h2>")
    body.append(_making(making, costs))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(making.program.title or 'untitled program')} - coalloc</title>",
            INLINE.render(),
            f"<style>{_STYLE}</style></head><body>",
            *body,
            script,
            "</body></html>",
            "",
        ]
    )


_WORDS: Final = {
    "film": "Addresses go across, the slider goes through time. The upper band shows segments; the lower band shows which of "
    "them have physical pages. Below it, every buffer is a box: as wide as its addresses, as high as its life, with time going "
    "down. Hover over anything to see what it is.",
    "bytes": "Each line goes through the most since the sample before it, so that it shows every peak.",
    "costs": "Counts times prices: an estimate, no measurement.",
    "front": "Less is better on both axes.",
}


def _left_out(films: Sequence[Film]) -> list[str]:
    lines = []
    for film in films:
        frames = sum(frame.left_out for frame in film.frames)
        if film.left_out or frames:
            lines.append(
                f"{film.outcome.design}: {film.left_out:,} smaller buffers and {frames:,} segments of frames are not drawn."
            )
    return lines


def _table(films: Sequence[Film], costs: CostModel, program: Program) -> str:
    outcomes = [film.outcome for film in films]
    head = "".join(
        f"<th>{html.escape(outcome.design)}</th>" + ("<th>ratio</th>" if number else "")
        for number, outcome in enumerate(outcomes)
    )
    rows = []
    for row in comparison_rows(program, outcomes, costs):
        cells = f"<td>{row.values[0]}</td>" + "".join(
            f'<td>{value}</td><td class="note">{ratio}</td>'
            for value, ratio in zip(row.values[1:], row.ratios[1:], strict=True)
        )
        rows.append(f"<tr><td>{html.escape(row.label)}</td>{cells}</tr>")
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _making(making: Making, costs: CostModel) -> str:
    rows = {
        "command": making.command,
        "program": f"{making.program.title or 'untitled'}, {len(making.program):,} operations, SHA-256 {making.digest}...",
        "copies": f"{making.copies:,}, seed {making.seed}",
        "era": making.era,
        "limit": f"{making.limit:,} bytes",
        "prices": f"measured on {costs.measured_on}",
        "coalloc": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    }
    cells = "".join(
        f'<tr><td>{name}</td><td style="text-align:left;white-space:normal">{html.escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f"<table><tbody>{cells}</tbody></table>"
