"""A command line, run in this process."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import cli


class Result:
    """The exit status and the output of a command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def coalloc(capfd: pytest.CaptureFixture[str], build_read_once: None) -> Any:  # noqa: ARG001 (patches)
    """Run a command line in this process (an allocator under test still runs in a process of its own)."""

    def run(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as caught:
            cli.run(list(arguments))
        captured = capfd.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return run
