"""`SCENARIOS`: every scenario by its name, those of this package, of installed packages, and of the running program.

A module of this package offers scenarios by listing them in a tuple named ``OFFERED``, and nothing else has to name it.  An
installed package offers one (or several, as an iterable) by an entry point of the group ``coalloc.scenarios``.  A program adds
one with :func:`register`.  Nothing is looked for before somebody asks.
"""

from __future__ import annotations

from typing import Final

from coalloc._registry import Registry
from coalloc.scenarios.scenario import Scenario

__all__ = ["GROUP", "SCENARIOS", "register"]

GROUP: Final = "coalloc.scenarios"
"""The group of entry points by which packages offer scenarios."""

SCENARIOS: Final = Registry(Scenario, "scenario", "coalloc.scenarios", GROUP)
"""Every scenario by its name."""


def register(scenario: Scenario) -> Scenario:
    """Add a scenario to :data:`SCENARIOS`, and return it.

    Raises:
        InvalidRequestError: If its name is taken.
    """
    return SCENARIOS.register(scenario)
