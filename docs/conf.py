"""Sphinx configuration."""

from __future__ import annotations

import coalloc

project = "coalloc"
author = "the coalloc developers"
release = coalloc.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "strangers_table.md"]
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
