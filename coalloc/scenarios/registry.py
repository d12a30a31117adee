"""`SCENARIOS`: all scenarios by name: those of this package, of installed packages, and of the running program.

A module of this package offers scenarios by listing them in a tuple named ``OFFERED``; no other file names it.  An installed
package offers a scenario (or an iterable of scenarios) by an entry point of the group ``coalloc.scenarios``.  A program adds
one with :func:`register`.  Modules and entry points are loaded at the first look-up.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "SCENARIOS", "Registry", "register"]

GROUP: Final = "coalloc.scenarios"
"""The group of entry points by which packages offer scenarios."""


class Registry(Mapping[str, Scenario]):
    """Scenarios by name, in the order of their ranks.

    Args:
        package: The package whose modules offer scenarios.
        group: The group of entry points.
    """

    def __init__(self, package: str, group: str) -> None:
        self._package = package
        self._group = group
        self._found: dict[str, Scenario] | None = None
        self._added: dict[str, Scenario] = {}

    def register(self, scenario: Scenario) -> Scenario:
        """Add a scenario, and return it.

        Raises:
            InvalidRequestError: If its name is taken.
        """
        if scenario.name in self:
            raise InvalidRequestError("name", scenario.name, "there is a scenario of this name already")
        self._added[scenario.name] = scenario
        return scenario

    def unregister(self, name: str) -> None:
        """Remove a scenario that :meth:`register` added.

        Raises:
            InvalidRequestError: If no scenario of this name was added.
        """
        if self._added.pop(name, None) is None:
            raise InvalidRequestError("name", name, "no scenario of this name was registered")

    def __getitem__(self, name: str) -> Scenario:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        scenarios = self._all()
        return iter(sorted(scenarios, key=lambda name: scenarios[name].rank))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Scenario]:
        if self._found is None:
            found: dict[str, Scenario] = {}
            for scenario in (*self._in_package(), *self._in_entry_points()):
                if scenario.name in found:
                    raise CoallocError(f"there are two scenarios of the name {scenario.name}")
                found[scenario.name] = scenario
            self._found = found
        return {**self._found, **self._added}

    def _in_package(self) -> Iterator[Scenario]:
        path = importlib.import_module(self._package).__path__
        for info in pkgutil.iter_modules(path):
            yield from getattr(importlib.import_module(f"{self._package}.{info.name}"), "OFFERED", ())

    def _in_entry_points(self) -> Iterator[Scenario]:
        from importlib.metadata import entry_points  # imported here because it is slow and rarely needed

        for point in entry_points(group=self._group):
            yield from _load(point)


def _load(point: EntryPoint) -> Iterable[Scenario]:
    try:
        offered = point.load()
    except Exception as error:
        raise CoallocError(f"the scenario {point.name} ({point.value}) cannot be loaded: {error}") from error
    several = tuple(offered) if isinstance(offered, Iterable) else (offered,)
    if not all(isinstance(one, Scenario) for one in several):
        raise CoallocError(f"{point.name} ({point.value}) is no scenario")
    return several


SCENARIOS: Final = Registry("coalloc.scenarios", GROUP)
"""Every scenario by its name."""


def register(scenario: Scenario) -> Scenario:
    """Add a scenario to :data:`SCENARIOS`, and return it.

    Raises:
        InvalidRequestError: If its name is taken.
    """
    return SCENARIOS.register(scenario)
