"""How coalloc imports: a package's public names when they are first used, and extras with a clear error if they are missing.

`import coalloc` loads only this module.  A package face lists its names twice: as imports, which only type checkers read, and
as a table for :func:`lazy_names`, which Python reads.  ``tests/unit/test_imports.py`` compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module

__all__ = ["lazy_names", "needs_extra"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package, which import each name when it is first used (PEP 562).

    Modules of the package are imported on first use, too, so ``coalloc.space`` works after ``import coalloc``.

    Args:
        package: The package's ``__name__``.
        homes: For each module, the names that come from it, separated by spaces.  No name may be that of a module of the
            package: importing the module would hide it.
    """
    home = {name: module for module, names in homes.items() for name in names.split()}
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        if name in home:
            value = namespace[name] = getattr(import_module(home[name]), name)  # found there without us from now on
            return value
        if not name.startswith("_"):
            submodule = f"{package}.{name}"
            try:
                return import_module(submodule)
            except ModuleNotFoundError as error:
                if error.name != submodule:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*namespace, *home})

    return get, names


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Import packages of an extra in this block.

    Args:
        extra: The extra of coalloc that brings them.

    Raises:
        MissingExtraError: If one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from coalloc.errors import MissingExtraError

        raise MissingExtraError((error.name or "a package").partition(".")[0], extra) from None
