"""Allocators in C on the command line: the options of the kit's commands, what the compiler says, and ``coalloc native``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from coalloc.cli.common import say_notes
from coalloc.errors import InvalidRequestError
from coalloc.native import FOLDER, is_native, native_target, with_settings

__all__ = ["BuildDirOption", "SanitizeOption", "ValgrindOption", "native_app", "prepared"]

SanitizeOption = Annotated[
    str, typer.Option("--sanitize", help="For C: compile with these sanitizers, such as address,undefined.")
]
ValgrindOption = Annotated[bool, typer.Option("--valgrind", help="For C: run it under valgrind.")]
BuildDirOption = Annotated[
    Path | None,
    typer.Option("--build-dir", help="For C: where programs are built; the user's cache folder if not given."),
]


def prepared(target: str, sanitize: str, valgrind: bool, build_dir: Path | None) -> str:
    """Return a TARGET with the settings that are given as options; one in C is compiled, and its warnings are shown.

    Raises:
        InvalidRequestError: If a setting is for C, and the TARGET is not.
        CompilerError: If it cannot be compiled.
    """
    if build_dir is not None:
        os.environ["COALLOC_BUILD_DIR"] = str(build_dir.resolve())  # the processes of the kit read it
    whole = with_settings(target, sanitize=sanitize, valgrind=valgrind)
    if is_native(whole):
        say_notes([native_target(whole)])
    return whole


native_app = typer.Typer(
    help="Allocators in C: the header that they include, and a skeleton to begin with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_SKELETON: Final = FOLDER / "skeleton.c"


@native_app.command()
def header(
    stubs: Annotated[bool, typer.Option("--kstub", help="The header with stubs of a kernel instead.")] = False,
) -> None:
    """Print the path of coalloc.h; its folder is what a compiler's -I needs."""
    print(FOLDER / ("kstub.h" if stubs else "coalloc.h"))


@native_app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is called: NAME.c is written, with prefix NAME_.")
    ],
) -> None:
    """Write an allocator to begin with: it compiles, and keeps what it promises."""
    if not re.fullmatch(r"[A-Za-z]\w{0,40}", name):
        raise InvalidRequestError("NAME", name, "must be a name in C: letters, digits and _")
    file = Path(f"{name}.c")
    text = re.sub(r"\bmine(?=_|\.c\b)", name, _SKELETON.read_text(encoding="utf-8"))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise InvalidRequestError("NAME", name, f"there is a file {file} already") from None
    print(f"{file}: try coalloc check {file}")
