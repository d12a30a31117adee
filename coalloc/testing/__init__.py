"""The conformance kit: it checks that an allocator keeps the contract that it declares.

``conformance`` and ``state_machine`` need hypothesis and are imported at their first use.  Everything else needs only coalloc.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from coalloc.testing.check import Report, Ruling, Verdict, check_space
from coalloc.testing.directed import run_thoroughly
from coalloc.testing.explore import Exploration, explore, explore_pipes
from coalloc.testing.judge import Judge
from coalloc.testing.matrix import Kill, kill, matrix_text
from coalloc.testing.minimise import minimise
from coalloc.testing.mutants import MUTANTS, NOT_APPLICABLE, Mutant
from coalloc.testing.programs import Counterexample, random_program, run_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.soak import SoakResult, soak
from coalloc.testing.source import WatchedSource
from coalloc.testing.steps import Action, CheckProgram, Step, World, dumps, loads
from coalloc.testing.subject import Subject
from coalloc.testing.subjects import SUBJECTS

if TYPE_CHECKING:
    from coalloc.testing.statemachine import conformance, state_machine

__all__ = [
    "Action",
    "Breach",
    "CheckProgram",
    "Exploration",
    "Counterexample",
    "Judge",
    "Kill",
    "MUTANTS",
    "Mutant",
    "NOT_APPLICABLE",
    "Property",
    "Report",
    "Ruling",
    "SUBJECTS",
    "SoakResult",
    "Step",
    "Subject",
    "Verdict",
    "WatchedSource",
    "World",
    "check_space",
    "conformance",
    "dumps",
    "explore",
    "explore_pipes",
    "kill",
    "loads",
    "matrix_text",
    "minimise",
    "random_program",
    "run_program",
    "run_thoroughly",
    "soak",
    "state_machine",
]


def __getattr__(name: str) -> object:
    if name in ("conformance", "state_machine"):
        return getattr(importlib.import_module("coalloc.testing.statemachine"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
