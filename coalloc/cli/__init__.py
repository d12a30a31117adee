"""The command line: ``coalloc compare``, ``map``, ``trace``; ``check``, ``soak``, ``explore``, ``mutants``; ``scenario``.

Exit status 0 for success, 1 for a job that failed or an allocator that does not conform, 2 for bad usage.  Whatever goes
wrong is one line on standard error.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from coalloc import __version__
from coalloc.cli import (
    common,  # noqa: F401 (first: it says so if typer is missing)
    kit,
    loads,
    scenario,
)
from coalloc.errors import CoallocError, InvalidRequestError

__all__ = ["app", "run"]

app = typer.Typer(
    help="Compare ways of giving pipes their buffers; hold any allocator to what it declares; run the kernel around the pipe.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(loads.compare)
app.command("map")(loads.draw_map)
app.add_typer(loads.trace_app, name="trace")
app.command()(kit.check)
app.command()(kit.soak)
app.command()(kit.explore)
app.command()(kit.mutants)
app.add_typer(scenario.scenario_app, name="scenario")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"coalloc {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Compare ways of giving pipes their buffers; hold any allocator to what it declares."""


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: with 0, 1 for a failed job, or 2 for bad usage."""
    sys.exit(_status(sys.argv[1:] if arguments is None else arguments))


def _status(arguments: list[str]) -> int:
    if sys.stdout is None:
        return _fail("there is no standard output", 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title may hold what the terminal cannot show
    try:
        command = typer.main.get_command(app)
        with command.make_context("coalloc", list(arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except InvalidRequestError as error:
        return _fail(str(error), 2)
    except (CoallocError, MemoryError) as error:
        return _fail(str(error) or "out of memory", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the final flush does not fail again
        return _fail("standard output was closed before all was written", 1)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        # typer raises the exceptions of click, or of the copy of click that it brings; both kinds tell themselves.
        if hasattr(error, "format_message"):
            return _fail(f"{error.format_message()} (see --help)", 2)
        if hasattr(error, "exit_code"):  # --help, for one
            return int(error.exit_code)
        raise
    return 0


def _fail(text: str, status: int) -> int:
    print(f"coalloc: error: {' '.join(text.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    run()
