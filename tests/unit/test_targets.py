"""TARGETs: the names by which every command finds designs and allocators, and what packages offer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from coalloc import DESIGNS, ERAS, CoalescingSpace, Design, KernelMap, PerPipeSpace
from coalloc.designs import GROUP, Registry, find, find_designs, load, of_factory
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.testing.targets import find_design, find_target

MINE = '''"""Allocators."""
from coalloc import Design, PerPipeSpace

class Mine(PerPipeSpace):
    """Maps each.

    And more.
    """

class Outer:
    class Inner(PerPipeSpace):
        pass

RECORD = Design("recorded", "a record", lambda _state, kernel, limit: PerPipeSpace(kernel, kva_limit=limit))
NUMBER = 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which holds allocators; what was imported from it is forgotten, and the path is as before."""
    (tmp_path / "mine_targets.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "broken_targets.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("mine_targets", "broken_targets"):
        sys.modules.pop(name, None)


def offering(monkeypatch: pytest.MonkeyPatch, **points: str) -> Registry:
    """A registry of one design beside what these entry points offer."""
    made = [EntryPoint(name, value, GROUP) for name, value in points.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: made if group == GROUP else [])
    return Registry([DESIGNS["vmem"]])


def test_a_registered_name_is_the_registered_design() -> None:
    """Also one that a program adds, until it is taken back."""
    mine = Design("mine", "", lambda _state, kernel, limit: PerPipeSpace(kernel, kva_limit=limit))
    assert DESIGNS.register(mine) is mine
    try:
        assert find("mine") is mine
        assert list(DESIGNS)[-1] == "mine"
        assert len(DESIGNS) == len([*DESIGNS])
        with pytest.raises(InvalidRequestError, match="name='mine': there is a design of this name already"):
            DESIGNS.register(mine)
    finally:
        DESIGNS.unregister("mine")
    with pytest.raises(InvalidRequestError, match="is no design"):
        find("mine")


@pytest.mark.parametrize("where", ["mine_targets", "mine_targets.py"])
@pytest.mark.parametrize("name", ["Mine", "Outer.Inner"])
@pytest.mark.usefixtures("folder")
def test_a_factory_is_found_in_a_module_or_a_file(where: str, name: str) -> None:
    """It becomes a design of that name; the kit makes it by the factory itself."""
    design = find(f"{where}:{name}")
    assert design.name == f"{where}:{name}"
    assert design.title == ("Maps each." if name == "Mine" else design.name)
    space = design.build(ERAS["2006"], 1 << 20).space
    assert type(space).__name__ == name.rpartition(".")[2]
    assert design.factory is design.subject


@pytest.mark.usefixtures("folder")
def test_a_design_in_a_file_is_taken_as_it_is() -> None:
    """Its name is its own."""
    assert [design.name for design in find_designs("vmem,mine_targets.py:RECORD")] == ["vmem", "recorded"]
    assert isinstance(load("mine_targets:RECORD"), Design)


def test_a_file_is_found_wherever_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, and what stands beside it can be imported from it."""
    below = folder / "below"
    below.mkdir()
    (below / "uses_targets.py").write_text("from beside_targets import Mine\n", encoding="utf-8")
    (below / "beside_targets.py").write_text(MINE, encoding="utf-8")
    try:
        assert callable(load(f"{below}/uses_targets.py:Mine"))
        monkeypatch.chdir("/")
        assert callable(load(f"{folder}/mine_targets.py:Mine"))
    finally:
        for name in ("uses_targets", "beside_targets"):
            sys.modules.pop(name, None)


def test_mutants_and_further_subjects_of_the_kit_are_found() -> None:
    """By the commands of the kit whether the package is installed or not."""
    assert find_design("M3").name == "M3"
    assert find_design("next-fit").name == "next-fit"
    assert find_design("vmem") is DESIGNS["vmem"]
    space = find_target("coalescing+cache")(KernelMap(), kva_limit=1 << 20)
    assert isinstance(space, CoalescingSpace)
    assert find_target("linux") is not None


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("vmen", "is no design; did you mean vmem?"),
        ("coalesce", "did you mean coalescing"),
        ("zzz", "is no design; there are per-pipe, coalescing, .*, and file.py:name"),
        ("./mine.so", "there is no file mine.so"),
        ("mine.c", "there is no file mine.c"),
        ("gone.py:Mine", "there is no file gone.py"),
        ("gone_targets:Mine", "No module named 'gone_targets'"),
        ("broken_targets.py:Mine", "broken_targets.py cannot be imported: ZeroDivisionError: division by zero"),
        ("broken_targets:Mine", "broken_targets cannot be imported: ZeroDivisionError"),
        ("mine_targets.py:Yours", "mine_targets.py has no 'Yours' that can be called"),
        ("mine_targets.py:NUMBER", "has no 'NUMBER' that can be called"),
        ("mine_targets.py:", "must be package.module:attribute, or file.py:attribute"),
        (":Mine", "cannot be imported"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_name_that_is_none_is_refused_in_one_line(target: str, words: str) -> None:
    """The error names the option that it was given for, and what is near or what there is."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        find(target, "--designs")
    assert str(caught.value).startswith("--designs=")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("folder")
def test_a_design_stands_once_in_a_list() -> None:
    """Neither a registered name nor a target may be given twice."""
    for names in ("vmem, vmem", "mine_targets.py:Mine,vmem,mine_targets.py:Mine"):
        with pytest.raises(InvalidRequestError, match="stands twice"):
            find_designs(names)


@pytest.mark.usefixtures("folder")
def test_an_installed_package_offers_a_design_a_factory_or_several_designs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory has the name of its entry point; what is registered stays apart from what is offered."""
    registry = offering(
        monkeypatch, one="mine_targets:RECORD", two="mine_targets:Mine", many="coalloc.testing.targets:OFFERED"
    )
    sys.path.insert(0, ".")
    offered = registry.offered()
    assert {"recorded", "two", "next-fit", "M1", "M70"} <= {*offered}
    assert offered["two"].title == "Maps each."
    assert registry.offered() is offered
    assert list(registry) == ["vmem"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("gone_targets:X", "the design mine cannot be loaded: No module named 'gone_targets'"),
        ("broken_targets:X", "the design mine cannot be loaded: division by zero"),
        ("mine_targets:NUMBER", "mine is no design"),
        ("mine_targets:__path__", "the design mine cannot be loaded"),
        ("mine_targets:__name__", "mine is no design"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_offer_that_is_wrong_is_one_line(monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    """It names the entry point."""
    sys.path.insert(0, ".")
    with pytest.raises(CoallocError, match=words):
        offering(monkeypatch, mine=value).offered()


def test_a_factory_without_a_docstring_is_described_by_its_name() -> None:
    """And it is called with the source and the limit."""
    asked: list[Any] = []

    def make(source: Any, *, kva_limit: int) -> PerPipeSpace:
        asked.append(kva_limit)
        return PerPipeSpace(source, kva_limit=kva_limit)

    design = of_factory("made", make)
    assert (design.name, design.title) == ("made", "made")
    design.build(ERAS["current"], 1 << 20)
    assert asked == [1 << 20]
