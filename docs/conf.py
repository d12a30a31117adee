"""Sphinx configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coalloc

project = "coalloc"
author = "the coalloc developers"
release = coalloc.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "strangers_table.md", "patches_table.md"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
html_theme = "furo"
html_static_path: list[str] = []
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = ["Guarantees", "Complexity", "Source"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nitpicky = False


def _write_film(app: Any, error: Exception | None) -> None:  # noqa: ANN401 (Sphinx)
    """Write the page that the landing page shows: the bundled build on three designs, as ``coalloc report`` writes it."""
    if error is not None or app.builder.name != "html":
        return
    from coalloc import COSTS, DESIGNS, STATES, bundled_build
    from coalloc.experiments.film import film
    from coalloc.experiments.sweeps import Load
    from coalloc.report.page import Making, save_page

    program, era, limit = bundled_build(), STATES["2004-01"], 64 << 20
    films = [
        film(program, DESIGNS[name], era=era, limit=limit) for name in ("per-pipe", "coalescing", "coalescing+cache")
    ]
    digest = Load.of(program).digest
    making = Making("coalloc report", program, digest, f"{era.name}: {era.title}", limit, 0, 1)
    save_page(films, COSTS["measured"], making, Path(app.outdir) / "film.html")


def setup(app: Any) -> None:  # noqa: ANN401 (Sphinx)
    """Write the film when the documentation is built."""
    app.connect("build-finished", _write_film)
