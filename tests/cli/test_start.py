"""What the command line loads: the table of commands, no more than a command needs, and extras that are missing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
import typer

from coalloc.cli import commands

LOADED = "import sys; from coalloc.cli import run\ntry: run({arguments})\nfinally: print(*sys.modules, file=sys.stderr)"


def loaded(*arguments: str) -> tuple[str, set[str]]:
    """Run a command line in a new interpreter, and return what it prints and the modules that it loads."""
    code = LOADED.format(arguments=list(arguments))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout, set(result.stderr.split())


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_help_in_the_table_is_the_commands_own(name: str) -> None:
    """The help of a command in the table equals the help of the command itself."""
    entry = commands.COMMANDS[name]
    command = entry.load()
    own = command.info.help if isinstance(command, typer.Typer) else (inspect.getdoc(command) or "").split("\n\n")[0]
    assert entry.help == own


def test_help_lists_the_commands_as_their_own_help_begins(coalloc: Any) -> None:
    """Help lists all commands in the table's order, each with the beginning of its own help."""
    shown = coalloc("--help").out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in shown] == list(commands.COMMANDS)
    for line in shown:
        name, begins = line.split(maxsplit=1)
        assert begins.removesuffix("...") in " ".join(coalloc(name, "--help").out.split())


def test_the_version_needs_no_extra() -> None:
    """Printing the version imports neither typer, rich nor attrs, and no other module of the package."""
    text, modules = loaded("--version")
    assert text.startswith("coalloc ")
    assert {name for name in modules if name.startswith("coalloc.")} == {"coalloc._imports", "coalloc.cli"}
    assert not modules & {"typer", "rich", "attrs"}


def test_help_loads_typer_and_no_command() -> None:
    """Printing the help loads typer but no module of a command."""
    text, modules = loaded("--help")
    assert "Draw the arenas" in text
    assert "typer" in modules
    assert not modules & ({entry.module for entry in commands.COMMANDS.values()} | {"coalloc.space", "coalloc.kernel"})


def test_a_command_loads_its_own_module_only() -> None:
    """Showing a trace loads neither the kit nor the kernel around the pipe."""
    _, modules = loaded("trace", "info")
    assert "coalloc.cli.loads" in modules
    assert not modules & {"coalloc.cli.kit", "coalloc.cli.scenario", "coalloc.testing", "coalloc.kernel", "matplotlib"}


def test_a_command_that_was_not_named_is_not_loaded_and_cannot_run() -> None:
    """The placeholder of a command that was not loaded cannot be run."""
    with pytest.raises(AssertionError):
        commands._not_loaded()


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_packages_of_the_command_line_there_is_one_line(
    package: str, coalloc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without typer or rich a command prints one line that says what to install, and --version still works."""
    gone = {package, *(name for name in sys.modules if name.startswith(f"{package}."))}
    for name in [*gone, *(name for name in sys.modules if name.startswith("coalloc.cli."))]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    result = coalloc("compare")
    assert (result.status, result.out) == (1, "")
    assert result.err == f"coalloc: error: {package} is not installed; it comes with: pip install 'coalloc[cli]'\n"
    assert coalloc("--version").status == 0


def test_a_picture_without_the_plot_extra_is_one_line(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib --plot exits with status 1 and one line, and prints no table."""
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = coalloc("compare", "--plot", "x.svg")
    assert (result.status, result.out) == (1, "")
    assert result.err == "coalloc: error: matplotlib is not installed; it comes with: pip install 'coalloc[plot]'\n"
