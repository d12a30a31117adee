"""Pictures of the page: films, lines, bars and points, drawn with Bokeh, which is an extra.

Nothing is told by colour alone: lines have dashes, bars and segments have hatches, and hovering names everything.  Text and
axes are of a grey that is read on white and on black.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from coalloc.experiments.film import Film, Frame, size_classes
from coalloc.experiments.pareto import objective_named
from coalloc.experiments.sweeps import Sweep, SweepRow
from coalloc.report.ranking import label_of
from coalloc.report.sweeps import load_of, unit_of, value_in
from coalloc.report.tables import design_figures, figure_text, milliseconds
from coalloc.space.protocol import Kind
from coalloc.units import KiB, MiB, format_size
from coalloc.vm.costs import CostModel, count_of
from coalloc.workload.figures import LABELS

if TYPE_CHECKING:
    from bokeh.models import LayoutDOM
    from bokeh.plotting import figure

__all__ = [
    "draw_bytes",
    "draw_costs",
    "draw_films",
    "draw_fragmentation",
    "draw_front",
    "draw_map_operations",
    "draw_settings",
    "key_of_sizes",
]

_INK: Final = "#767676"
"""Of axes and text in pictures: it is read on white and on black."""
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#767676")
"""Colours told apart with any kind of colour vision (Okabe and Ito 2008)."""
_DASHES: Final = ("solid", "dashed", "dotted", "dotdash", "dashdot", "solid", "dashed", "dotted")
_HATCHES: Final = (" ", "/", "\\", "x", ".", "-", "|", "o")


def _figure(title: str = "", **options: Any) -> figure:  # noqa: ANN401 (what Bokeh takes)
    """Return an empty picture that is read on light and dark paper, and is as wide as the window."""
    from bokeh.plotting import figure

    options = {
        "sizing_mode": "stretch_width",
        "toolbar_location": "above",
        "tools": "pan,xwheel_zoom,box_zoom,reset,save",
    } | options
    picture = figure(background_fill_alpha=0, border_fill_alpha=0, outline_line_color=_INK, **options)
    picture.toolbar.logo = None
    for axis in picture.axis:
        axis.axis_label_text_color = axis.major_label_text_color = _INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _INK
        axis.axis_label_text_font_style = "normal"
    picture.grid.grid_line_color = _INK
    picture.grid.grid_line_alpha = 0.25
    _entitle(picture, title)
    return picture


def _entitle(picture: figure, text: str) -> None:
    from bokeh.models.annotations import Title

    picture.title = Title(text=text, text_color=_INK)


_LEGEND_COLUMNS: Final = 2
"""So many fit into a narrow window; where Bokeh counts itself, it cuts what does not."""
_LEGEND_ROW: Final = 24
"""The height of a row of the legend in pixels."""


def _legend(picture: figure) -> None:
    """Put the legend below, where it hides nothing."""
    for legend in picture.legend:
        legend.background_fill_alpha = 0
        legend.label_text_color = _INK
        legend.border_line_alpha = 0
        legend.click_policy = "hide"
        legend.orientation = "horizontal"
        legend.ncols = _LEGEND_COLUMNS
        picture.add_layout(legend, "below")
        picture.height = (picture.height or 0) + _LEGEND_ROW * ceil(len(legend.items) / _LEGEND_COLUMNS)


def _column(parts: Sequence[Any]) -> LayoutDOM:
    from bokeh.layouts import column

    return column(*parts, sizing_mode="stretch_width")


def _is_timed(film: Film) -> bool:
    return film.outcome.pipes.pipes_created + film.outcome.pipes.pipes_refused > 0


def _times(film: Film) -> list[float]:
    return [sample.time / 1e6 if _is_timed(film) else float(sample.time) for sample in film.outcome.series]


def _time_label(film: Film) -> str:
    return "seconds" if _is_timed(film) else "operations"


def draw_bytes(films: Sequence[Film]) -> LayoutDOM:
    """Draw bytes mapped, resident and live of each design, each picture on one scale."""
    most = max((sample.mapped_range.most for film in films for sample in film.outcome.series), default=KiB)
    unit, word = (MiB, "MiB") if most >= 4 * MiB else (KiB, "KiB")
    pictures = []
    for film in films:
        picture = _figure(
            height=240, title=film.outcome.design, x_axis_label=_time_label(film), y_axis_label=word, y_axis_type="log"
        )
        for number, name in enumerate(("mapped", "resident", "live")):
            values = [max(getattr(sample, f"{name}_range").most, 1024) / unit for sample in film.outcome.series]
            picture.step(
                _times(film), values, mode="before", line_width=2, line_color=_COLOURS[number], line_dash=_DASHES[number],
                legend_label=name, name=name,
            )  # fmt: skip
        _hover(picture, [("", "$name"), ("time", "$x"), (word, "$y{0,0.00}")])
        _legend(picture)
        pictures.append(picture)
    return _column(pictures)


def draw_map_operations(films: Sequence[Film]) -> LayoutDOM:
    """Draw the map operations so far, of all designs in one picture."""
    picture = _figure(
        height=280, x_axis_label=_time_label(films[0]), y_axis_label="map operations + 1", y_axis_type="log"
    )
    for number, film in enumerate(films):
        counts = [sample.map_ops + 1 for sample in film.outcome.series]
        picture.step(
            _times(film), counts, mode="after", line_width=2, line_color=_COLOURS[number % len(_COLOURS)],
            line_dash=_DASHES[number % len(_DASHES)], legend_label=f"{film.outcome.design}: {film.outcome.map.map_ops:,}",
            name=film.outcome.design,
        )  # fmt: skip
    _hover(picture, [("", "$name"), ("time", "$x"), ("map operations + 1", "$y{0,0}")])
    _legend(picture)
    return _column([picture])


def draw_fragmentation(films: Sequence[Film]) -> LayoutDOM:
    """Draw the share of free bytes outside the largest hole."""
    picture = _figure(height=280, x_axis_label=_time_label(films[0]), y_axis_label="share outside the largest hole")
    unknown = []
    for number, film in enumerate(films):
        points = [
            (time, sample.external_fragmentation)
            for time, sample in zip(_times(film), film.outcome.series, strict=True)
            if sample.external_fragmentation is not None
        ]
        if not points:
            unknown.append(film.outcome.design)
            continue
        picture.step(
            [x for x, _ in points], [y for _, y in points], mode="after", line_width=2,
            line_color=_COLOURS[number % len(_COLOURS)],
            line_dash=_DASHES[number % len(_DASHES)], legend_label=film.outcome.design, name=film.outcome.design,
        )  # fmt: skip
    if unknown:
        _entitle(picture, f"not known: {', '.join(unknown)}")
    _hover(picture, [("", "$name"), ("time", "$x"), ("share", "$y{0.000}")])
    _legend(picture)
    return _column([picture])


def draw_costs(films: Sequence[Film], costs: CostModel) -> LayoutDOM:
    """Draw the estimate of each design as a bar of what it is made of."""
    names = [film.outcome.design for film in films]
    parts = {
        event: [price.ns * count_of(event, film.outcome.map, film.outcome.work) / 1e6 for film in films]
        for event, price in costs.prices.items()
    }
    shown = {event: ms for event, ms in parts.items() if any(ms)}
    picture = _figure(
        height=80 + 60 * len(films), y_range=names[::-1], x_axis_label="estimated milliseconds", tools="save"
    )
    left = [0.0] * len(films)
    for number, (event, ms) in enumerate(shown.items()):
        right = [low + value for low, value in zip(left, ms, strict=True)]
        data = {
            "design": names, "left": left, "right": right, "what": [label_of(event)] * len(films),
            "ms": [milliseconds(value * 1e6) for value in ms],
        }  # fmt: skip
        picture.hbar(
            y="design", left="left", right="right", height=0.6, source=data, fill_color=_COLOURS[number % len(_COLOURS)],
            fill_alpha=0.7, hatch_pattern=_HATCHES[number % len(_HATCHES)], hatch_color=_INK, hatch_alpha=0.7,
            line_color=_INK, legend_label=label_of(event),
        )  # fmt: skip
        left = right
    _hover(picture, [("", "@design"), ("", "@what"), ("ms", "@ms")])
    _legend(picture)
    return _column([picture])


_ROOM_FOR_MARKERS: Final = 0.3
"""The share of the range beyond the outermost points, so that no marker is cut."""


def draw_front(films: Sequence[Film], costs: CostModel) -> LayoutDOM:
    """Draw the estimate over the most resident bytes, and over the most mapped ones."""
    from bokeh.models import DataRange1d

    pictures = []
    for name in ("peak_resident", "peak_mapped"):
        picture = _figure(
            height=260,
            x_axis_label=f"{LABELS[name]} (KiB)",
            y_axis_label=LABELS["estimated_cost_ns"],
            y_axis_type="log",
            x_axis_type="log",
            x_range=DataRange1d(range_padding=_ROOM_FOR_MARKERS),
            y_range=DataRange1d(range_padding=_ROOM_FOR_MARKERS),
        )
        for number, film in enumerate(films):
            figures = design_figures(film.outcome, costs)
            x, y = (figures[name] or 0) / KiB, (figures["estimated_cost_ns"] or 0) / 1e6
            picture.scatter(
                [max(x, 0.1)], [max(y, 1e-6)], size=14, marker=_MARKERS[number % len(_MARKERS)],
                fill_color=_COLOURS[number % len(_COLOURS)], line_color=_INK, legend_label=film.outcome.design,
                name=film.outcome.design,
            )  # fmt: skip
        _hover(picture, [("", "$name"), ("KiB", "$x{0,0}"), ("ms", "$y{0,0.000}")])
        _legend(picture)
        pictures.append(picture)
    return _column(pictures)


def draw_settings(result: Sweep, on_front: Collection[SweepRow], objectives: Sequence[str]) -> LayoutDOM:
    """Draw the first objective over each of the others, a point for each setting; those on the front are filled."""
    names = list(dict.fromkeys(objective_named(name) for name in objectives))
    pictures = []
    y_unit, y_label = unit_of(names[0], result.rows)
    for name in names[1:] or names:
        x_unit, x_label = unit_of(name, result.rows)
        picture = _figure(height=300, x_axis_label=x_label, y_axis_label=y_label)
        for chosen, label, alpha in ((False, "dominated", 0.0), (True, "on the front", 0.8)):
            rows = [row for row in result.rows if (row in on_front) is chosen]
            data = {
                "x": [value_in(row, name, x_unit) for row in rows],
                "y": [value_in(row, names[0], y_unit) for row in rows],
                "setting": [row.setting.name for row in rows], "limit": [format_size(row.setting.limit) for row in rows],
                "load": [load_of(row, result.rows) or row.program for row in rows],
                "x_text": [figure_text(name, row.figures[name]) for row in rows],
                "y_text": [figure_text(names[0], row.figures[names[0]]) for row in rows],
            }  # fmt: skip
            picture.scatter(
                "x", "y", source=data, size=11, fill_color=_COLOURS[0], fill_alpha=alpha,
                line_color=_COLOURS[0] if chosen else _INK, legend_label=label,
            )  # fmt: skip
        tips = [
            ("", "@setting"),
            ("limit", "@limit"),
            ("load", "@load"),
            (LABELS[name], "@x_text"),
            (LABELS[names[0]], "@y_text"),
        ]
        _hover(picture, tips)
        _legend(picture)
        pictures.append(picture)
    return _column(pictures)


_MARKERS: Final = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "plus")


def _hover(picture: figure, tips: list[tuple[str, str]]) -> None:
    from bokeh.models import HoverTool

    picture.add_tools(HoverTool(tooltips=tips))


# --- the film ------------------------------------------------------------------------------------------------


def draw_films(films: Sequence[Film]) -> LayoutDOM:
    """Draw for each design a band of segments with a slider, and the lives of all buffers below it."""
    sizes = size_classes(films)
    return _column([part for film in films for part in _film(film, sizes)])


def key_of_sizes(films: Sequence[Film]) -> str:
    """Return the key of the colours and hatches of segments, as HTML."""
    sizes = size_classes(films)
    looks: dict[tuple[str, str], list[int]] = {}
    for size in sizes:
        colour, _, hatch = _looks(Kind.BUSY, size, sizes)
        looks.setdefault((colour, hatch), []).append(size)
    spans = []
    for (colour, hatch), of in looks.items():
        text = format_size(of[0]) if len(of) == 1 else f"{format_size(of[0])} .. {format_size(of[-1])}"
        hatched = f", hatch {hatch}" if hatch.strip() else ""
        spans.append(
            f'<span class="size" style="border-left: 1rem solid {colour}">{html.escape(f"busy, {text}{hatched}")}</span>'
        )
    spans.append(
        f'<span class="size" style="border-left: 1rem dotted {_INK}">cached</span><span class="size">free</span>'
    )
    return f"<p>{' '.join(spans)}</p>"


def _class_of(size: int, sizes: Sequence[int]) -> int:
    """Return the number of a size's class: sizes that are few have one each; of many, those of a power of two share one."""
    if len(sizes) < len(_COLOURS):
        return sizes.index(size) if size in sizes else len(sizes)
    return (size - 1).bit_length() % (len(_COLOURS) - 1)


def _looks(kind: Kind, size: int, sizes: Sequence[int]) -> tuple[str, float, str]:
    """Return colour, opacity and hatch of a segment."""
    if kind is Kind.FREE:
        return _INK, 0.08, " "
    if kind is Kind.CACHED:
        return _INK, 0.35, "."
    number = _class_of(size, sizes)
    return _COLOURS[number % len(_COLOURS)], 0.75, _HATCHES[number % len(_HATCHES)]


def _columns_of(frame: Frame, film: Film, sizes: Sequence[int], unit: int) -> dict[str, list[Any]]:
    """Return a frame as columns of boxes."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("left", "right", "top", "bottom", "colour", "alpha", "hatch", "what", "where")
    }

    def add(base: int, end: int, band: tuple[float, float], looks: tuple[str, float, str], what: str) -> None:
        values = ((base - film.start) / unit, (end - film.start) / unit, *band, *looks, what, f"{base:#x} .. {end:#x}")
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)

    for segment in frame.segments:
        looks = _looks(segment.kind, segment.size, sizes)
        add(segment.base, segment.end, (1.0, 0.35), looks, f"{segment.kind.value}, {format_size(segment.size)}")
    for base, end in frame.resident:
        add(base, end, (0.25, 0.0), (_INK, 0.8, " "), f"resident, {format_size(end - base)}")
    return columns


_SHOW: Final = """
const frame = frames[slider.value];
source.data = frame.columns;
title.text = frame.title;
"""


def _film(film: Film, sizes: Sequence[int]) -> list[Any]:
    from bokeh.models import ColumnDataSource, CustomJS, Range1d
    from bokeh.models.widgets import Slider

    ends = [segment.end for frame in film.frames for segment in frame.segments]
    ends += [buffer.base + buffer.size for buffer in film.buffers]
    most = max(ends, default=film.start + KiB) - film.start
    unit, word = (MiB, "MiB") if most >= 16 * MiB else (KiB, "KiB")
    frames = [{"title": _title(film, frame), "columns": _columns_of(frame, film, sizes, unit)} for frame in film.frames]
    across = Range1d(start=0, end=most / unit * 1.02, bounds=(0, most / unit * 1.05))
    source = ColumnDataSource(frames[film.fullest]["columns"])
    band = _figure(
        height=170, title=_title(film, film.frames[film.fullest]), x_range=across, y_range=(-0.05, 1.05),
        name=f"film {film.outcome.design}",
        x_axis_label=f"address, {word} from the start of the map",
    )  # fmt: skip
    band.yaxis.visible = band.ygrid.visible = False
    band.quad(
        left="left", right="right", top="top", bottom="bottom", source=source, fill_color="colour", fill_alpha="alpha",
        hatch_pattern="hatch", hatch_color=_INK, hatch_alpha=0.6, line_color=_INK, line_width=0.6,
    )  # fmt: skip
    _hover(band, [("", "@what"), ("addresses", "@where")])
    slider = Slider(
        start=0, end=max(1, len(frames) - 1), value=film.fullest, step=1, title="frame", sizing_mode="stretch_width"
    )  # fmt: skip
    known = {"frames": frames, "source": source, "slider": slider, "title": band.title}
    slider.js_on_change("value", CustomJS(args=known, code=_SHOW))
    n = film.frames[-1].operation
    lives = _figure(
        height=300, x_range=across, y_range=Range1d(start=n, end=0), x_axis_label=f"address, {word} from the start of the map",
        y_axis_label="operation", output_backend="canvas", title=f"{film.outcome.design}: the life of every buffer",
    )  # fmt: skip
    lives.quad(
        left="left", right="right", top="first", bottom="last", fill_color="colour", fill_alpha=0.75, line_color=_INK,
        line_width=0.3,
        source={
            "left": [(buffer.base - film.start) / unit for buffer in film.buffers],
            "right": [(buffer.base + buffer.size - film.start) / unit for buffer in film.buffers],
            "first": [buffer.first for buffer in film.buffers],
            "last": [max(buffer.last, buffer.first + 1) for buffer in film.buffers],
            "size": [format_size(buffer.size) for buffer in film.buffers],
            "base": [f"{buffer.base:#x}" for buffer in film.buffers],
            "colour": [_looks(Kind.BUSY, buffer.size, sizes)[0] for buffer in film.buffers],
        },
    )  # fmt: skip
    _hover(lives, [("buffer", "@size at @base"), ("from operation", "@first{0,0}"), ("to", "@last{0,0}")])
    return [band, slider, lives]


def _title(film: Film, frame: Frame) -> str:
    when = f"{frame.time / 1e6:,.3f} s, " if _is_timed(film) else ""
    return f"{film.outcome.design}: {when}operation {frame.operation:,}, {format_size(frame.live)} live"
