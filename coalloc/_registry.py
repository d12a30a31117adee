"""`Registry`: things by name, offered by modules of a package, installed packages or the running program; no name stands twice.

A module of the package offers things by listing them in a tuple named ``OFFERED``, and nothing else has to name it.  An
installed package offers one (or several, as an iterable) by an entry point.  A program adds one with
:meth:`Registry.register`.  Nothing is looked for before somebody asks.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from coalloc.errors import CoallocError, InvalidRequestError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Registry"]


class Named(Protocol):
    """What can be registered."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def rank(self) -> int:
        """Where it stands in lists: lower ranks first, equal ranks in the order in which they were found."""


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name, in the order of their ranks.

    Args:
        kind: Their class.
        noun: What one of them is called in errors, such as ``scenario``.
        package: The package whose modules offer some.
        group: The group of entry points by which installed packages offer some.
    """

    def __init__(self, kind: type[T], noun: str, package: str, group: str) -> None:
        self._kind = kind
        self._noun = noun
        self._package = package
        self._group = group
        self._found: dict[str, T] | None = None
        self._added: dict[str, T] = {}

    def register(self, offered: T) -> T:
        """Add one, and return it.

        Raises:
            InvalidRequestError: If its name is taken.
        """
        if offered.name in self:
            raise InvalidRequestError("name", offered.name, f"there is a {self._noun} of this name already")
        self._added[offered.name] = offered
        return offered

    def unregister(self, name: str) -> None:
        """Take back one that :meth:`register` added.

        Raises:
            InvalidRequestError: If none of this name was added.
        """
        if self._added.pop(name, None) is None:
            raise InvalidRequestError("name", name, f"no {self._noun} of this name was registered")

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        offers = self._all()
        return iter(sorted(offers, key=lambda name: offers[name].rank))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        if self._found is None:
            found: dict[str, T] = {}
            for offered in (*self._in_package(), *self._in_entry_points()):
                if offered.name in found:
                    raise CoallocError(f"there are two {self._noun}s of the name {offered.name}")
                found[offered.name] = offered
            self._found = found
        return {**self._found, **self._added}

    def _in_package(self) -> Iterator[T]:
        path = importlib.import_module(self._package).__path__
        for info in pkgutil.iter_modules(path):
            yield from getattr(importlib.import_module(f"{self._package}.{info.name}"), "OFFERED", ())

    def _in_entry_points(self) -> Iterator[T]:
        from importlib.metadata import entry_points  # here, since it is slow to import and few need it

        for point in entry_points(group=self._group):
            yield from self._load(point)

    def _load(self, point: EntryPoint) -> Iterable[T]:
        try:
            offered = point.load()
        except Exception as error:
            raise CoallocError(f"the {self._noun} {point.name} ({point.value}) cannot be loaded: {error}") from error
        several = tuple(offered) if isinstance(offered, Iterable) else (offered,)
        if not all(isinstance(one, self._kind) for one in several):
            raise CoallocError(f"{point.name} ({point.value}) is no {self._noun}")
        return several
