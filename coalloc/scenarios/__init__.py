"""Scenarios, runs over all other packages: each module declares a scenario's options, its run, its text and its JSON.

To add a scenario, add a module that lists it in ``OFFERED`` (:mod:`coalloc.scenarios.registry`).  The command line and the
tests of the documentation find it there.
"""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.scenarios.creation": "Creation run_creation",
            "coalloc.scenarios.curves": "FLAT Curve",
            "coalloc.scenarios.mail": "ConsoleEntry MailResult Piper run_mail",
            "coalloc.scenarios.options": "Option",
            "coalloc.scenarios.progress": "Progress",
            "coalloc.scenarios.registry": "SCENARIOS register",
            "coalloc.scenarios.regress": "TESTS PipeTest PipeTestFailure PipeTestResult run_test",
            "coalloc.scenarios.result": "Column Result Table",
            "coalloc.scenarios.scalability": "descriptor_curves pipe_curves",
            "coalloc.scenarios.scenario": "Scenario",
            "coalloc.scenarios.teardown": "TEARDOWN_DESIGNS Teardown run_teardown",
            "coalloc.scenarios.windows": "DRIVERS WINDOWS Window look",
        },
    )

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
