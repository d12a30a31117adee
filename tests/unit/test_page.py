"""The page: everything in one file, told without colour, and opened in a real Chromium where there is one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from coalloc import COSTS, DESIGNS, STATES, InvalidRequestError, MiB, bundled_build
from coalloc.experiments.film import Film, film
from coalloc.experiments.pareto import OBJECTIVES, front
from coalloc.experiments.settings import Grid
from coalloc.experiments.sweeps import Load, sweep
from coalloc.report.page import Making, page, save_page, save_sweep_page
from coalloc.report.page_pictures import draw_settings
from coalloc.workload.generators import hackbench, sawtooth
from coalloc.workload.program import Program

pytest.importorskip("bokeh")
ERA = STATES["2004-01"]
COST = COSTS["measured"]
WRONG = ("error", "warning")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def films_of(program: Program, *names: str) -> list[Film]:
    """Return a small film of each design."""
    return [film(program, DESIGNS[name], era=ERA, limit=8 * MiB, frames=6) for name in names]


def making(program: Program, command: str = "coalloc report") -> Making:
    """Say how a page was made."""
    return Making(command, program, Load.of(program).digest, "2004-01", 8 * MiB, 0, 1)


class Texts(HTMLParser):
    """The headings and cells of a page, and what it asks of others."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.asked: list[str] = []
        self.cells: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note addresses."""
        self._open = tag
        self.asked += [value for name, value in attrs if name in ("src", "href") and not value.startswith("data:")]

    def handle_data(self, data: str) -> None:
        """Note headings and cells."""
        if self._open in ("h1", "h2"):
            self.headings.append(data.strip())
        elif self._open in ("td", "th"):
            self.cells.append(data.strip())


def test_a_page_has_all_that_it_needs() -> None:
    """The sentence, every figure and every picture; nothing is asked of a network; markup in a title is text."""
    program = hackbench(groups=1, fds=3, loops=3)
    text = page(films_of(program, "per-pipe", "coalescing+cache", "linux"), COST, making(program, "coalloc <b>x</b>"))
    read = Texts()
    read.feed(text)
    assert read.asked == []
    assert [heading for heading in read.headings if heading][1:] == [
        "Where buffers lie", "Bytes over time", "Map operations over time", "External fragmentation over time",
        "Where the estimate goes", "The designs against each other", "The figures", "How it was made",
    ]  # fmt: skip
    assert "map operations" in read.cells
    assert "has the lowest estimated cost" in text
    assert "did different work" not in text
    assert "<b>x</b>" not in text
    assert "coalloc &lt;b&gt;x&lt;/b&gt;" in text
    assert all(word in text for word in ("hatch_pattern", "line_dash", "prefers-color-scheme: dark", "@media print"))


def test_designs_that_did_different_work_are_said_to_have_done_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is not drawn is counted; sizes that are many share colours."""
    monkeypatch.setattr("coalloc.experiments.film._MOST_BUFFERS", 5)
    program = sawtooth(cycles=2, peak=40, trough=4)
    films = films_of(program, "per-pipe", "buddy")
    text = page(films, COST, making(program))
    assert "smaller buffers and" in text
    small = [
        film(hackbench(groups=1, fds=20, loops=1), DESIGNS[name], era=ERA, limit=1 << 17, frames=2)
        for name in ("per-pipe", "linux")
    ]
    assert "did different work" in page(small, COST, making(program))
    assert re.search(r"busy, [\d.]+ KiB", text)


def test_names_under_which_no_page_can_be_written_are_refused(tmp_path: Path) -> None:
    """Before anything is drawn."""
    for name in ("page.txt", "none/page.html"):
        with pytest.raises(InvalidRequestError, match="output"):
            save_page([], COST, making(bundled_build()), tmp_path / name)


def write_both(folder: Path) -> tuple[Path, Path]:
    """Write the page of a comparison and that of a sweep."""
    program = hackbench(groups=1, fds=3, loops=3)
    first, second = folder / "report.html", folder / "sweep.html"
    save_page(films_of(program, "per-pipe", "coalescing"), COST, making(program), first)
    result = sweep(Grid(["per-pipe", "coalescing"], {"arena_size": (MiB, 5000)}), [program])
    save_sweep_page(result, front(result.rows), OBJECTIVES, "Choose <this>.", "coalloc sweep", second)
    return first, second


def test_the_page_of_a_sweep_has_every_row_and_failure(tmp_path: Path) -> None:
    """With the sentence that decides."""
    text = write_both(tmp_path)[1].read_text(encoding="utf-8")
    assert "Choose &lt;this&gt;." in text
    assert "1 setting could not be run:" in text
    assert "on the Pareto front of" in text


def test_the_picture_of_a_sweep_shows_the_units_that_its_axes_name() -> None:
    """Times are drawn in milliseconds and bytes in KiB or MiB, as the labels say."""
    models = pytest.importorskip("bokeh.models")
    result = sweep(Grid(["per-pipe", "coalescing"]), [hackbench(groups=1, fds=3, loops=3)])
    names = ["peak_mapped", "estimated_cost_ns"]
    drawn = draw_settings(result, [], names)
    picture: Any = next(iter(drawn.select({"type": models.Plot})))
    assert [axis.axis_label for axis in (*picture.below, *picture.left) if isinstance(axis, models.Axis)] == [
        "estimated cost, ms",
        "peak mapped, MiB",
    ]
    points = next(renderer.data_source.data for renderer in picture.renderers if renderer.data_source.data["x"])
    assert list(points["x"]) == [row.figures["estimated_cost_ns"] / 1e6 for row in result.rows]  # type: ignore[operator]
    assert list(points["y"]) == [row.figures["peak_mapped"] / MiB for row in result.rows]  # type: ignore[operator]


@pytest.fixture(name="browser")
def _browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield chromium
        chromium.close()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (420, "dark")])
def test_a_browser_opens_the_pages_without_a_network(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    """Without an error on its console; the slider changes the frame, hovering names a segment, and pictures are not blank."""
    for file in write_both(tmp_path):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        opened = context.new_page()
        complaints: list[str] = []
        opened.on(
            "console",
            lambda said, kept=complaints: kept.append(said.text) if said.type in ("error", "warning") else None,
        )
        opened.on("pageerror", lambda error, kept=complaints: kept.append(str(error)))
        opened.goto(file.as_uri())
        opened.wait_for_function("Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle")
        assert complaints == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        shot = opened.screenshot()
        assert len(set(shot)) > 50
        assert len(shot) > 10_000
        if file.name == "report.html":
            slides(opened)
            hovers(opened)
        context.close()


def slides(opened: Any) -> None:
    """Move the slider, and see the frame change."""
    title = "Bokeh.documents[0].get_model_by_name('film coalescing').title.text"
    before = opened.evaluate(title)
    slider = "[...Bokeh.documents[0]._all_models.values()].filter(m => m.type == 'Slider')[1]"
    opened.evaluate(f"{slider}.value = {slider}.value ? 0 : {slider}.end")
    opened.wait_for_function(f"{title} != {before!r}")


def hovers(opened: Any) -> None:
    """Point at the first segment of the first film, and read what it is."""
    canvas = opened.locator(".bk-Figure").first
    box = canvas.bounding_box()
    for step in range(8):
        opened.mouse.move(box["x"] + box["width"] * (0.15 + step / 40), box["y"] + box["height"] * 0.3)
        opened.wait_for_timeout(100)
        if opened.locator(".bk-Tooltip").count():
            break
    text = opened.locator(".bk-Tooltip").first.evaluate("tip => tip.shadowRoot.textContent")
    assert "addresses" in text
    assert re.search(r"busy, \d+ KiB ?addresses: 0xc4\w+ \.\. 0x", text)
