"""``coalloc patches``: published changes of pipe code, and what the model gives for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coalloc.cli.common import Bar, JsonOption
from coalloc.cli.results import show_result
from coalloc.errors import InvalidRequestError
from coalloc.patches.gallery import Refitted, find_patches, run_patches
from coalloc.report.patch_plot import save_patches
from coalloc.report.plots import require_picture

__all__ = ["patches"]


def patches(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Patches, such as A10, or file.py:NAME; all if not given."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw published and predicted figures to this file, .svg or .png.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the constants anew, on figures from before each patch, and compare.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict published changes of pipe code: what the model gives beside what their authors measured.

    Exit status 0, however far the model is off; with --fit 1 if a constant is not the one that fits.
    """
    chosen = find_patches(names or ())
    if plot is not None:
        if fit:
            raise InvalidRequestError("--plot", str(plot), "has no meaning with --fit")
        require_picture(plot)
    bar = Bar()
    if fit:
        refitted = []
        for patch in chosen:
            if patch.fit is not None:
                bar.say(f"{patch.name}: {', '.join(each.name for each in patch.constants if each.fitted)}")
                refitted.append((patch, patch.refit()))
        if not refitted:
            raise InvalidRequestError("--fit", ", ".join(each.name for each in chosen), "has nothing that was fitted")
        show_result(Refitted(tuple(refitted)), as_json=as_json)
        return
    gallery = run_patches(chosen, bar.say)
    if plot is not None:
        save_patches(gallery.rows, plot)
    show_result(gallery, [plot] if plot is not None else (), as_json=as_json)
