"""The names that the conformance kit adds to the designs: its further subjects and the mutants."""

from __future__ import annotations

from typing import Final

from coalloc.designs import DESIGNS, find, of_factory
from coalloc.native import NativeFactory
from coalloc.pipes.design import Design
from coalloc.testing.mutants import MUTANTS
from coalloc.testing.properties import Breach, Property
from coalloc.testing.subject import MakeSpace
from coalloc.testing.subjects import SUBJECTS

__all__ = ["OFFERED", "find_design", "find_target"]

_FURTHER: Final = {name: of_factory(name, make_space) for name, make_space in SUBJECTS.items() if name not in DESIGNS}


def _mutants() -> dict[str, Design]:
    return {f"M{number}": of_factory(f"M{number}", mutant.make_space) for number, mutant in MUTANTS.items()}


OFFERED: Final = (*_FURTHER.values(), *_mutants().values())
"""The kit's own designs; every command finds them through an entry point."""


def find_design(text: str, option: str = "TARGET") -> Design:
    """Return the design that a TARGET names, whether the package is installed or not.

    Raises:
        InvalidRequestError: As :func:`coalloc.designs.find`.
    """
    return _FURTHER.get(text) or _mutants().get(text) or find(text, option)


def find_target(text: str) -> MakeSpace:
    """Return the factory for the design that a TARGET names, with caches so small that tiny programs fill them.

    Raises:
        InvalidRequestError: As :func:`coalloc.designs.find`.
    """
    made = SUBJECTS[text] if text in SUBJECTS else find_design(text).factory
    return made.for_kit(_broken_off) if isinstance(made, NativeFactory) else made


def _broken_off(reason: str, output: str) -> Breach:
    """Return the breach that the end of an allocator's process is; what the process wrote is the picture."""
    breach = Breach(Property.P17, reason)
    breach.picture = output.strip()
    return breach
