"""The commands ``coalloc scenario ...``: one for each entry of the registry, made from the scenario's declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperGroup

from coalloc.cli.common import Bar, note
from coalloc.cli.results import show_result
from coalloc.errors import InvalidRequestError
from coalloc.report.perfetto import save_trace
from coalloc.report.plots import require_picture, save_charts, save_curves
from coalloc.scenarios import SCENARIOS, Option, Result, Scenario
from coalloc.scenarios.options import PlotFile, TraceFile

__all__ = ["scenario_app"]


class _Group(TyperGroup):
    """A group whose commands are the scenarios that are registered when it is used."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (a class of typer's or of click's)
        app = typer.Typer(rich_markup_mode=None)
        app.callback()(lambda: None)  # a group with a single command would be replaced by that command
        for scenario in SCENARIOS.values():
            app.command(scenario.name, help=scenario.help)(_command(scenario))
        self.commands = cast("TyperGroup", typer.main.get_command(app)).commands
        return super().parse_args(ctx, args)


scenario_app = typer.Typer(
    help="Run the kernel around the pipe: the mail's stress run, FreeBSD's pipe tests, scalability, contention, windows.",
    rich_markup_mode=None,
    cls=_Group,
)


def _command(scenario: Scenario) -> Callable[..., None]:
    """Return the function of a scenario's command, with one parameter for each option and one for ``--json``."""

    def command(*, as_json: bool, **given: object) -> None:
        values = scenario.read(given)
        kinds = {option.name: option.kind for option in scenario.options}
        plots = [value for name, value in values.items() if value is not None and isinstance(kinds[name], PlotFile)]
        traces = [value for name, value in values.items() if value is not None and isinstance(kinds[name], TraceFile)]
        for path in plots:
            require_picture(path)
        for path in traces:
            if not path.parent.is_dir():
                raise InvalidRequestError("--perfetto", str(path), "its folder does not exist")
        result = scenario.start(values, Bar())
        for path in traces:
            if result.timeline is not None:
                save_trace(result.timeline, scenario.name, path)
                note(f"wrote {path}")
        _show(result, plots, as_json=as_json)

    parameters = [_parameter(option) for option in scenario.options]
    shown = typer.Option(False, "--json", help="Print JSON, and nothing else, on standard output.")
    parameters.append(inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=bool))
    vars(command)["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(option: Option) -> inspect.Parameter:
    shown = (
        typer.Argument(option.default, metavar=option.metavar, help=option.help)
        if option.metavar
        else typer.Option(option.default, option.label, help=option.help)
    )
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=option.kind.given)


def _show(result: Result, plots: list[Path], *, as_json: bool) -> None:
    for path in plots:
        if result.charts:
            save_charts(result.charts, path)
        else:
            save_curves(result.curves, path)
    show_result(result, plots, as_json=as_json)
