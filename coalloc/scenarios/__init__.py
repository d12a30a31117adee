"""Scenarios, runs over all other packages: each module declares a scenario's options, its run, its text and its JSON.

To add a scenario, add a module that lists it in ``OFFERED`` (:mod:`coalloc.scenarios.registry`).  The command line and the
tests of the documentation find it there.
"""

from coalloc.scenarios.creation import Creation, run_creation
from coalloc.scenarios.curves import FLAT, Curve
from coalloc.scenarios.mail import ConsoleEntry, MailResult, Piper, run_mail
from coalloc.scenarios.options import Option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.registry import SCENARIOS, register
from coalloc.scenarios.regress import TESTS, PipeTest, PipeTestFailure, PipeTestResult, run_test
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scalability import descriptor_curves, pipe_curves
from coalloc.scenarios.scenario import Scenario
from coalloc.scenarios.teardown import TEARDOWN_DESIGNS, Teardown, run_teardown
from coalloc.scenarios.windows import DRIVERS, WINDOWS, Window, look

__all__ = [
    "DRIVERS",
    "FLAT",
    "SCENARIOS",
    "TEARDOWN_DESIGNS",
    "TESTS",
    "WINDOWS",
    "Column",
    "ConsoleEntry",
    "Creation",
    "Curve",
    "MailResult",
    "Option",
    "PipeTest",
    "PipeTestFailure",
    "PipeTestResult",
    "Piper",
    "Progress",
    "Result",
    "Scenario",
    "Table",
    "Teardown",
    "Window",
    "descriptor_curves",
    "look",
    "pipe_curves",
    "register",
    "run_creation",
    "run_mail",
    "run_teardown",
    "run_test",
]
