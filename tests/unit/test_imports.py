"""How coalloc imports: public names at first use, and one clear error where a package of an extra is missing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import coalloc
from coalloc._imports import lazy_names, needs_extra
from coalloc.errors import InvalidRequestError, MissingExtraError
from coalloc.report.plots import draw_comparison, require_picture, save_comparison, save_curves

PACKAGE = Path(coalloc.__file__).parent
FACES = sorted(file for file in PACKAGE.rglob("__init__.py") if "lazy_names(" in file.read_text(encoding="utf-8"))


def imported(body: list[ast.stmt]) -> dict[str, str]:
    """Return the names that these statements import, and from where."""
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in imports for alias in node.names}


def face_name(file: Path) -> str:
    """Return the package that this file is the face of."""
    return ".".join(file.relative_to(PACKAGE.parent).parts[:-1])


@pytest.mark.parametrize("file", FACES, ids=face_name)
def test_a_lazy_face_gives_what_type_checkers_are_told(file: Path) -> None:
    """The imports, the table and ``__all__`` list the same names, and each is the object of its own module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (told,) = (node for node in tree.body if isinstance(node, ast.If))
    (call,) = (node for node in ast.walk(told) if isinstance(node, ast.Call))
    table = {name: module for module, names in ast.literal_eval(call.args[1]).items() for name in names.split()}
    assert table == imported(told.body)
    face = importlib.import_module(face_name(file))
    assert set(face.__all__) == {*table, *({"__version__"} & set(vars(face)))}
    assert {*table} <= {*dir(face)}
    modules = {path.stem for path in file.parent.iterdir()}
    assert not modules & set(table), "a module of that name would hide it"
    for name, module in table.items():
        assert getattr(face, name) is getattr(importlib.import_module(module), name)


def test_every_name_can_be_imported_with_a_star() -> None:
    """``from coalloc import *`` binds all of ``__all__``, and ``import coalloc`` reaches the packages as attributes."""
    code = (
        "import coalloc\n"
        "assert 'coalloc.space' not in __import__('sys').modules\n"
        "assert coalloc.workload.GENERATORS and coalloc.space.vmem.VmemSpace\n"
        "from coalloc import *\n"
        "print(sorted(set(coalloc.__all__) - set(globals())))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """An unknown name raises AttributeError, or ImportError in an import, as for any module."""
    for name in ("nonsense", "_nonsense", "__nonsense__"):
        with pytest.raises(AttributeError, match=f"module 'coalloc' has no attribute '{name}'"):
            getattr(coalloc, name)
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        exec("from coalloc import nonsense")


def test_a_module_that_cannot_be_imported_says_which_package_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that lacks a package raises ModuleNotFoundError, not AttributeError."""
    (tmp_path / "broken.py").write_text("import coalloc_no_such_package\n")
    package = ModuleType("coalloc_lazy_test")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    get, names = lazy_names(package.__name__, {"coalloc.units": "KiB MiB"})
    with pytest.raises(ModuleNotFoundError, match="coalloc_no_such_package"):
        get("broken")
    assert get("KiB") == 1024
    assert vars(package)["KiB"] == 1024
    assert {"KiB", "MiB"} <= set(names())


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package raises an error that names its extra, and other errors pass unchanged."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError) as caught, needs_extra("plot"):
        import matplotlib.figure  # noqa: F401 (must fail)
    assert (caught.value.package, caught.value.extra) == ("matplotlib", "plot")
    with pytest.raises(ZeroDivisionError), needs_extra("plot"):
        raise ZeroDivisionError


def test_pictures_need_the_plot_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without matplotlib each function that draws names the extra, and a wrong file name is still refused first."""
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    picture = tmp_path / "x.svg"
    for draw in (
        lambda: require_picture(picture),
        lambda: draw_comparison([], ""),
        lambda: save_comparison([], "", picture),
        lambda: save_curves([], picture),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'coalloc\[plot\]'"):
            draw()
    with pytest.raises(InvalidRequestError, match="must end in"):
        require_picture("x.pdf")
    assert not picture.exists()


@pytest.mark.parametrize("module", ["coalloc.testing.statemachine", "coalloc.testing.schedules"])
def test_what_needs_hypothesis_says_so(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hypothesis the modules that need it name the extra."""
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingExtraError, match=r"hypothesis is not installed.*coalloc\[test\]"):
        importlib.import_module(module)


def test_conformance_needs_the_test_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hypothesis importing conformance from coalloc.testing names the extra."""
    monkeypatch.delitem(sys.modules, "coalloc.testing.statemachine", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingExtraError, match=r"coalloc\[test\]"):
        from coalloc.testing import conformance  # noqa: F401 (must fail)
