"""The registry of scenarios: what is found where, in which order, and what is wrong with an offer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import attrs
import pytest

from coalloc._registry import Registry
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.scenarios import SCENARIOS, TESTS, Column, Option, Progress, Result, Scenario, Table, register
from coalloc.scenarios.options import Int
from coalloc.scenarios.progress import Silent
from coalloc.scenarios.registry import GROUP


@attrs.frozen
class Sum(Result):
    """A sum, as a line and a table."""

    a: int
    b: int

    def parts(self) -> Sequence[str | Table]:
        """A line and a table."""
        return ["the sum:", Table((Column("a"), Column("sum", right=True)), ((str(self.a), str(self.a + self.b)),))]

    def as_json(self) -> object:
        """The sum."""
        return self.a + self.b


def add(_progress: Progress, *, a: int, b: int) -> Sum:
    """Add."""
    return Sum(a, b)


ADD = Scenario("add", "Add two numbers.", add, (Option("a", Int(), 1, "One."), Option("b", Int(), 10, "The other.")))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules, one of which offers the scenario of this file."""
    folder = tmp_path / "offering"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "one.py").write_text(f"from {__name__} import ADD\nOFFERED = (ADD,)\n", encoding="utf-8")
    (folder / "two.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "offering"]:
        del sys.modules[name]


def test_the_scenarios_of_this_package_are_there_in_the_order_of_their_ranks() -> None:
    """The mail comes first, then FreeBSD's tests as they are listed, and what explores schedules last."""
    assert list(SCENARIOS) == ["mail", *TESTS, "scalability", "teardown", "contention", "locks", "windows", "remedies"]
    assert len(SCENARIOS) == len(TESTS) + 7
    assert "nothing" not in SCENARIOS


@pytest.mark.parametrize("name", [*SCENARIOS])
def test_a_run_takes_the_options_that_its_scenario_declares(name: str) -> None:
    """One progress, and a keyword for each option; every option and scenario has a help text that ends in a full stop."""
    scenario = SCENARIOS[name]
    _, *parameters = inspect.signature(scenario.run).parameters.values()
    assert [parameter.name for parameter in parameters] == [option.name for option in scenario.options]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    assert scenario.help.endswith(".")
    assert all(option.help.endswith(".") for option in scenario.options)
    assert scenario.read({}).keys() == {option.name for option in scenario.options}


def test_a_scenario_can_be_called_without_a_command_line() -> None:
    """Defaults hold for what is not given; text and JSON are the result's."""
    result = ADD.call(a=3)
    assert result.text() == "the sum:\na  sum\n3   13"
    assert (result.as_json(), result.failure, result.failed, result.curves) == (13, "", False, ())
    assert (result.charts, result.timeline) == ((), None)
    with pytest.raises(InvalidRequestError, match="c=1: add takes a, b"):
        ADD.call(c=1)
    with pytest.raises(InvalidRequestError, match="add takes no options"):
        attrs.evolve(ADD, options=()).call(c=1)


def test_a_scenario_that_fails_says_why() -> None:
    """A result with a failure has failed."""

    class Bad(Sum):
        @property
        def failure(self) -> str:
            return "it is wrong"

    assert Bad(1, 2).failed


def test_nobody_watches_by_default() -> None:
    """A silent task yields nothing to call."""
    Silent().say("x")
    with Silent().task("x", 3) as advance:
        assert advance is None


def test_a_module_offers_a_scenario_by_listing_it(package: Path) -> None:
    """No other file of the package names it, and nothing is imported before somebody asks."""
    registry = Registry(Scenario, "scenario", package.name, "nobody")
    assert "offering.one" not in sys.modules
    assert dict(registry) == {"add": ADD}


def test_a_scenario_is_registered_while_the_program_runs_and_taken_back() -> None:
    """Under a name that is free."""
    assert register(ADD) is ADD
    try:
        assert SCENARIOS["add"] is ADD
        assert list(SCENARIOS)[-1] == "add"
        with pytest.raises(InvalidRequestError, match="name='add': there is a scenario of this name already"):
            register(ADD)
    finally:
        SCENARIOS.unregister("add")
    assert "add" not in SCENARIOS
    with pytest.raises(InvalidRequestError, match="no scenario of this name was registered"):
        SCENARIOS.unregister("mail")


def offered_by(points: dict[str, str], package: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Scenario]:
    """A registry of installed packages that have these entry points."""
    made = [EntryPoint(name, value, GROUP) for name, value in points.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: made if group == GROUP else [])
    return Registry(Scenario, "scenario", package.name, GROUP)


def test_an_installed_package_offers_one_scenario_or_several(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point, which names a scenario or an iterable of some."""
    (package / "one.py").unlink()
    (package / "two.py").write_text(f"from {__name__} import ADD\nSEVERAL = [ADD]\n", encoding="utf-8")
    for value in (f"{__name__}:ADD", "offering.two:SEVERAL"):
        assert dict(offered_by({"add": value}, package, monkeypatch)) == {"add": ADD}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("offering.gone:X", r"the scenario add \(offering.gone:X\) cannot be loaded: No module named"),
        ("offering.two:x", r"add \(offering.two:x\) is no scenario"),
        ("offering:__path__", "is no scenario"),
        (f"{__name__}:ADD", "there are two scenarios of the name add"),
    ],
)
def test_an_offer_that_is_wrong_is_one_line(
    package: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    """It names the entry point and what is wrong with it."""
    with pytest.raises(CoallocError, match=words):
        list(offered_by({"add": value}, package, monkeypatch))
