"""The table of commands: the module that defines each command, and the line that ``coalloc --help`` shows for it.

Only the command that runs is imported; for the others only this table is loaded.  To add a command, add a row here, and a
function (or, for a group of commands, a typer application) in a module of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Final, NamedTuple

from coalloc import __version__
from coalloc._imports import needs_extra

with needs_extra("cli"):
    import typer
    from typer.main import get_command

__all__ = ["COMMANDS", "Entry", "run_command"]


_HELP: Final = (
    "Compare ways of giving pipes their buffers; hold any allocator to what it declares; "
    "run the kernel around the pipe."
)


class Entry(NamedTuple):
    """Where a command is defined, and its help in one line: the first line of the docstring, or the help of the group.

    With ``runs_another`` the first word that is no option begins another command line, with options of its own.
    """

    module: str
    name: str
    help: str
    runs_another: bool = False

    def load(self) -> Callable[..., None] | typer.Typer:
        """Import the function, or the group."""
        command: Callable[..., None] | typer.Typer = getattr(import_module(self.module), self.name)
        return command


COMMANDS: Final = {
    "compare": Entry(
        "coalloc.cli.loads", "compare", "Replay a load against several designs, and show what each costs."
    ),
    "map": Entry("coalloc.cli.loads", "draw_map", "Draw the arenas after a program, or at some moment of it."),
    "sweep": Entry(
        "coalloc.cli.choose",
        "sweep",
        "Replay loads against every combination of settings: a row for each, with the Pareto front marked.",
    ),
    "regret": Entry(
        "coalloc.cli.choose",
        "regret",
        "Hold what designs map, and the addresses they use, against the least for buffers whose lifetimes are known.",
    ),
    "report": Entry(
        "coalloc.cli.choose",
        "report",
        "Write a comparison as one HTML file that opens without a network, with a film of the arenas of each design.",
    ),
    "real": Entry(
        "coalloc.cli.machine",
        "real",
        "Make each design's map operations on memory of this machine, and time them beside the estimate.",
    ),
    "costs": Entry("coalloc.cli.machine", "costs_app", "Measure the prices of this machine, or show prices."),
    "record": Entry(
        "coalloc.cli.record",
        "record",
        "Run a command and record its pipes, or those of running processes; end with a summary of the recording.",
        runs_another=True,
    ),
    "check": Entry(
        "coalloc.cli.kit",
        "check",
        "Hold an allocator to what it declares: one line for each property, and the shortest program that breaks it.",
    ),
    "soak": Entry(
        "coalloc.cli.kit",
        "soak",
        "Run random programs at full speed, and make the first that breaks something as short as it can be.",
    ),
    "explore": Entry(
        "coalloc.cli.kit",
        "explore",
        "Run every program of so many operations on tiny arenas, one concern at a time.",
    ),
    "mutants": Entry(
        "coalloc.cli.kit",
        "mutants",
        "Kill the planted bugs: which property finds each, after how many operations, and how short the program becomes.",
    ),
    "diff": Entry(
        "coalloc.cli.diff",
        "diff",
        "Run the same programs on two allocators, and print a short one on which they differ.",
    ),
    "probe": Entry(
        "coalloc.cli.probe",
        "probe",
        "Drive the running Linux kernel's pipes and their model with the same random calls, and show where they differ.",
    ),
    "native": Entry(
        "coalloc.cli.native",
        "native_app",
        "Allocators in C: the header that they include, and a skeleton to begin with.",
    ),
    "trace": Entry("coalloc.cli.loads", "trace_app", "Import, describe and generate programs."),
    "scenario": Entry(
        "coalloc.cli.scenario",
        "scenario_app",
        "Run the kernel around the pipe: the mail's stress run, FreeBSD's pipe tests, scalability, contention, windows.",
    ),
    "patches": Entry(
        "coalloc.cli.patches",
        "patches",
        "Predict published changes of pipe code: what the model gives beside what their authors measured.",
    ),
}


def _version(wanted: bool) -> None:
    if wanted:
        print(f"coalloc {__version__}")
        raise typer.Exit


def _main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _not_loaded() -> None:
    raise AssertionError("a command that was not named has been run")


def _app(named: str | None) -> typer.Typer:
    """Return the command line with this command loaded, and with only the help of the others."""
    app = typer.Typer(
        help=_HELP,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_main)
    for name, entry in COMMANDS.items():
        if name != named:
            app.command(name, help=entry.help)(_not_loaded)
            continue
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, context_settings={"allow_interspersed_args": not entry.runs_another})(command)
    return app


def run_command(arguments: Sequence[str]) -> None:
    """Run one command line, and raise any error; help and bad usage raise typer's own exceptions."""
    named = next((word for word in arguments if not word.startswith("-")), None)  # no option before it takes a value
    command = get_command(_app(named))
    with command.make_context("coalloc", list(arguments)) as context:
        command.invoke(context)
