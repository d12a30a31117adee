"""`save_page`: a comparison as one HTML file that opens without a network, drawn with Bokeh, which is an extra.

The page has the sentence that decides, the figures behind it, a film of the arenas of each design, bytes and map operations
over time, fragmentation, where the estimate goes, the designs against each other, and how all of it was made.
"""

from __future__ import annotations

import html
import platform
from collections.abc import Collection, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from coalloc import __version__
from coalloc._imports import needs_extra
from coalloc.errors import InvalidRequestError
from coalloc.experiments.film import Film
from coalloc.experiments.sweeps import Sweep, SweepRow
from coalloc.report.page_pictures import (
    draw_bytes,
    draw_costs,
    draw_films,
    draw_fragmentation,
    draw_front,
    draw_map_operations,
    draw_settings,
    key_of_sizes,
)
from coalloc.report.ranking import sentence
from coalloc.report.sweeps import failure_lines, front_words, sweep_table, titles_of
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

__all__ = ["Making", "page", "require_page", "save_page", "save_sweep_page"]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #c8c8c8;
  --soft: #5f5f5f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --line: #4a4a4a;
  --soft: #a8a8a8; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem;
  padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.sentence { border-left: .3rem solid #0072B2; padding: .2rem 0 .2rem 1rem; font-size: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
.text { white-space: normal; overflow-wrap: anywhere; }
.note { color: var(--soft); }
.size { border: 1px solid var(--soft); padding: 0 .5rem; margin-right: .4rem; white-space: nowrap; }
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
    outcomes = [film.outcome for film in films]
    program = making.program
    head = [_paragraph(trace_words(trace_figures(program))), _sentence(sentence(outcomes, costs))]
    if differing := differing_work(outcomes):
        head.append(f"<p><strong>The designs did different work:</strong> {html.escape(differing)}</p>")
    pictures: list[tuple[str, LayoutDOM]] = [
        ("Where buffers lie", draw_films(films)),
        ("Bytes over time", draw_bytes(films)),
        ("Map operations over time", draw_map_operations(films)),
        ("External fragmentation over time", draw_fragmentation(films)),
        ("Where the estimate goes", draw_costs(films, costs)),
        ("The designs against each other", draw_front(films, costs)),
    ]
    notes = {"Where buffers lie": [key_of_sizes(films), *map(_paragraph, _left_out(films))]}
    tail = ["<h2>The figures</h2>", _table(films, costs, program), "<h2>How it was made</h2>", _making(making, costs)]
    return _whole(program.title or "untitled program", head, pictures, notes, tail)


def _whole(
    title: str,
    head: Sequence[str],
    pictures: Sequence[tuple[str, LayoutDOM]],
    notes: Mapping[str, Sequence[str]],
    tail: Sequence[str],
) -> str:
    """Put a page together, with everything that it needs inside."""
    with needs_extra("report"):
        from bokeh.embed import components
        from bokeh.resources import INLINE
    script, divisions = components(dict(pictures))
    body = [f"<h1>{html.escape(title)}</h1>", *head]
    for name, _ in pictures:
        body += [f"<h2>{html.escape(name)}</h2>", *([_paragraph(_WORDS[name])] if name in _WORDS else [])]
        body += [*notes.get(name, ()), divisions[name]]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(title)} - coalloc</title>",
            INLINE.render(),
            f"<style>{_STYLE}</style></head><body>",
            *body,
            *tail,
            script,
            "</body></html>",
            "",
        ]
    )


def _paragraph(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _sentence(text: str) -> str:
    return f'<p class="sentence">{html.escape(text)}</p>' if text else ""


def save_sweep_page(
    result: Sweep,
    on_front: Collection[SweepRow],
    objectives: Sequence[str],
    said: str,
    command: str,
    path: str | PathLike[str],
) -> None:
    """Write the page of a sweep: the choice, its settings against each other, every row, and how it was made.

    Args:
        result: The sweep, with at least one row.
        on_front: The rows on the Pareto front.
        objectives: Names of figures, at least one.
        said: The sentence that decides; may be empty.
        command: The command line.
        path: Where it is written.

    Raises:
        InvalidRequestError: As :func:`require_page`.
        MissingExtraError: If Bokeh is not installed.
        OSError: If the file cannot be written.
    """
    require_page(path)
    head = [_sentence(said), _paragraph(front_words(on_front, result.rows, objectives))]
    heads, rows = sweep_table(result, on_front, objectives)
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    top = "".join(f"<th>{html.escape(' '.join(name.split()))}</th>" for name in heads)
    programs = ", ".join(f"{title} ({digest}...)" for digest, title in titles_of(result.rows).items())
    tail = [
        "<h2>Every row</h2>",
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{cells}</tbody></table></div>',
        *map(_paragraph, failure_lines(result.failures, len(result.failures))),
        "<h2>How it was made</h2>",
        _pairs({"command": command, "programs": programs, **_versions(result.costs)}),
    ]
    pictures = [("The settings against each other", draw_settings(result, on_front, objectives))]
    Path(path).write_text(_whole("A sweep of settings", head, pictures, {}, tail), encoding="utf-8")


_WORDS: Final = {
    "Where buffers lie": "Addresses go across, the slider goes through time. The upper band shows segments; the lower band "
    "shows which of them have physical pages. Below it, every buffer is a box: as wide as its addresses, as high as its life, "
    "with time going down. Hover over anything to see what it is.",
    "Bytes over time": "Each line goes through the most since the sample before it, so that it shows every peak.",
    "Where the estimate goes": "Counts times prices: an estimate, no measurement.",
    "The designs against each other": "Less is better on both axes.",
    "The settings against each other": "Less is better on both axes. Filled: on the Pareto front. Hover to see the setting.",
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
    program = making.program
    return _pairs(
        {
            "command": making.command,
            "program": f"{program.title or 'untitled'}, {len(program):,} operations, SHA-256 {making.digest}...",
            "copies": f"{making.copies:,}, seed {making.seed}",
            "era": making.era,
            "limit": f"{making.limit:,} bytes",
            **_versions(costs),
        }
    )


def _versions(costs: CostModel) -> dict[str, str]:
    return {
        "prices": f"measured on {costs.measured_on}",
        "coalloc": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    }


def _pairs(rows: Mapping[str, str]) -> str:
    """Return names and texts as a table."""
    cells = "".join(f'<tr><td>{name}</td><td class="text">{html.escape(text)}</td></tr>' for name, text in rows.items())
    return f"<table><tbody>{cells}</tbody></table>"
