"""The command line: ``coalloc compare``, ``map``, ``record``, ``trace``; the kit's ``check`` and its kin; ``scenario``.

The exit status is 0 for success, 1 for a job that failed or an allocator that does not conform, 2 for bad usage.  Every error
is one line on standard error.  Modules that a command line does not need are not imported; see :mod:`coalloc.cli.commands`.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading

from coalloc import __version__

__all__ = ["run"]


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: with 0, 1 for a failed job, 2 for bad usage, 130 or 143 where a signal ended it."""
    terminated = threading.Event()

    def terminate(_signal: int, _frame: object) -> None:
        terminated.set()
        raise KeyboardInterrupt  # so that what was found is printed

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, terminate)
    try:
        status = _status(sys.argv[1:] if arguments is None else arguments)
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if status == _INTERRUPTED:
        status = _fail(*(("terminated", 143) if terminated.is_set() else ("interrupted", 130)))
    sys.exit(status)


_INTERRUPTED = -1


def _status(arguments: list[str]) -> int:
    if sys.stdout is None:
        return _fail("there is no standard output", 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title may hold what the terminal cannot show
    try:
        if arguments == ["--version"]:
            print(f"coalloc {__version__}")  # needs no extra, and no time
        else:
            from coalloc.cli.commands import run_command

            run_command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        return _status_of(error)
    return 0


def _status_of(error: Exception) -> int:
    """Say what went wrong; raises the error itself if it is our own mistake."""
    # typer raises the exceptions of click, or of the copy of click that it brings; both kinds tell themselves.
    if hasattr(error, "format_message"):
        return _fail(f"{error.format_message()} (see --help)", 2)
    if hasattr(error, "exit_code"):  # --help, for one
        return int(error.exit_code)
    from coalloc.errors import CoallocError, InvalidRequestError

    if isinstance(error, InvalidRequestError):
        return _fail(str(error), 2)
    from coalloc.native.build import CompilerError

    if isinstance(error, CompilerError):
        print(error.output.rstrip(), file=sys.stderr)
    if isinstance(error, CoallocError | MemoryError):
        return _fail(str(error) or "out of memory", 1)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the final flush does not fail again
        return _fail("standard output was closed before all was written", 1)
    if not isinstance(error, OSError):
        from coalloc.cli.blame import strangers_fault

        if (fault := strangers_fault(error)) is not None:
            return _fail(str(fault), 1)
    if isinstance(error, OSError):
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    raise error


def _fail(text: str, status: int) -> int:
    from coalloc.errors import message

    print(f"coalloc: error: {message(' '.join(text.split()))}", file=sys.stderr)
    return status


if __name__ == "__main__":
    run()
