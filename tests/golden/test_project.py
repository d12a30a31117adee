"""What the project says of itself in its configuration: one version, Pythons, licence, hooks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import coalloc

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place() -> None:
    """The version stands only in the package, and the metadata take it from there."""
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    source = ROOT / PROJECT["tool"]["hatch"]["version"]["path"]
    assert source.samefile(coalloc.__file__)
    assert re.findall(r'^__version__ = "(.+)"$', source.read_text(encoding="utf-8"), re.MULTILINE) == [
        coalloc.__version__
    ]


def test_the_classifiers_name_every_python_from_the_oldest_on() -> None:
    """The classifiers name every Python from the oldest supported one on, and no licence (PEP 639)."""
    classifiers = PROJECT["project"]["classifiers"]
    minors = [int(found[1]) for line in classifiers if (found := re.fullmatch(r".* :: Python :: 3\.(\d+)", line))]
    oldest = int(PROJECT["project"]["requires-python"].removeprefix(">=3."))
    assert minors == list(range(oldest, max(minors) + 1))
    assert PROJECT["project"]["license"] == "BSD-2-Clause"
    assert not [line for line in classifiers if line.startswith("License ::")]
    assert classifiers == sorted(set(classifiers))


def test_the_changes_begin_with_what_is_not_released() -> None:
    """The changelog begins with "Unreleased" and has a section for the current version."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert coalloc.__version__ in headings


def test_the_hooks_are_the_checks_of_make_lint() -> None:
    """The hooks run exactly the programs of ``make lint``, all of them local."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    programs = {line.split("$(BIN)/")[1].removesuffix(" .").replace(" --check", "") for line in recipe.splitlines()[1:]}
    assert {*re.findall(r"entry: \.venv/bin/(.+)", hooks)} == programs
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
