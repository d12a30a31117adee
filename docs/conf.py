"""Sphinx configuration."""

from __future__ import annotations

import coalloc

project = "coalloc"
author = "the coalloc developers"
release = coalloc.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "strangers_table.md"]
html_theme = "furo"
html_static_path: list[str] = []
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = ["Guarantees", "Complexity", "Source"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nitpicky = False
