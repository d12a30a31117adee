"""Runs over the whole kernel around the pipe: the mail's stress, FreeBSD's pipe tests, scalability, teardown, windows."""

from coalloc.kernel.scenarios.creation import Creation, run_creation
from coalloc.kernel.scenarios.mail import ConsoleEntry, MailResult, Piper, run_mail
from coalloc.kernel.scenarios.regress import TESTS, PipeTest, PipeTestFailure, PipeTestResult, run_test
from coalloc.kernel.scenarios.scalability import FLAT, Curve, descriptor_curves, pipe_curves
from coalloc.kernel.scenarios.teardown import TEARDOWN_DESIGNS, Teardown, run_teardown
from coalloc.kernel.scenarios.windows import DRIVERS, WINDOWS, Window, look

__all__ = [
    "DRIVERS",
    "FLAT",
    "TEARDOWN_DESIGNS",
    "TESTS",
    "WINDOWS",
    "ConsoleEntry",
    "Creation",
    "Curve",
    "MailResult",
    "PipeTest",
    "PipeTestFailure",
    "PipeTestResult",
    "Piper",
    "Teardown",
    "Window",
    "descriptor_curves",
    "look",
    "pipe_curves",
    "run_creation",
    "run_mail",
    "run_teardown",
    "run_test",
]
