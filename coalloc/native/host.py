"""`Host`: the process in which an allocator in C lives, so that what it breaks is not ours.

A call is a frame to the process, and one back.  Between the two the allocator may ask its source for arenas, and the source may
call the allocator again.  A process that ends, or does what no allocator may do, is reported once with the reason, the text of
a panic or a sanitizer, and where it was.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import IO, Final

from coalloc.errors import ExhaustionError, InvalidRequestError
from coalloc.vm.source import Source

__all__ = ["ABI", "FUNCTIONS", "Ask", "Host", "Status", "SubjectDied"]

_FRAME: Final = struct.Struct("=IIQ6Q")
_PRINTED: Final = 0x100
ABI: Final = 1
"""The version of coalloc.h."""
FUNCTIONS: Final = (
    "open", "close", "alloc", "free", "contract", "xalloc", "resize", "reserve", "reclaim", "size_of", "walk", "stats",
)  # fmt: skip
"""The functions of an allocator, without their prefix."""
_NEEDED: Final = FUNCTIONS[:4]
_ENDS: Final = {
    93: "valgrind found an error",
    94: "a sanitizer found an error",
    95: "it damaged memory",
    96: "it called exit",
    97: "the call does not return",
    98: "it broke off",
}
"""What the status of the process says."""


class Ask(IntEnum):
    """What a frame asks for, or that it answers."""

    OPEN = 0
    CLOSE = 1
    ALLOC = 2
    FREE = 3
    XALLOC = 4
    RESIZE = 5
    RESERVE = 6
    RECLAIM = 7
    SIZE_OF = 8
    WALK = 9
    STATS = 10
    CONTRACT = 11
    MAP = 12
    UNMAP = 13
    ANSWER = 14
    REPLY = 15
    WHOLE = 16
    HELD = 17


class Status(IntEnum):
    """What a function of an allocator returns."""

    OK = 0
    NOSPACE = 1
    INVALID = 2
    BADFREE = 3
    OVERLAP = 4


class SubjectDied(Exception):  # noqa: N818 (what happened to the allocator, no mistake of the caller)
    """The process of an allocator ended in the middle of a call, or the allocator did what none may do.

    Attributes:
        reason: One line: the signal, what was found, or that the call did not return.
        output: What the process wrote to standard error, such as a panic or a sanitizer's report, and where in C it was.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output


class Host:
    """A process in which spaces of one allocator live.

    Args:
        command: The program, and what comes before it.
        prefix: What the names of the allocator's functions begin with.
        cpu: Milliseconds of processor time that a call may take.
        wall: Milliseconds that a call may take at all.
        library: A shared library to open; None if the allocator is part of the program.
        environment: The environment of the process.
        fault: Makes what is raised when the process ends, of the reason and the output.

    Raises:
        InvalidRequestError: If the allocator lacks a function that each needs, or speaks another version of the interface.
        SubjectDied: If the process ends before it is ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        prefix: str,
        *,
        cpu: int = 500,
        wall: int = 5000,
        library: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        fault: Callable[[str, str], Exception] = SubjectDied,
    ) -> None:
        self.prefix = prefix
        self._fault = fault
        self._binary = library if library is not None else Path(command[-1])
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (likewise)
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        words = [
            *command,
            str(theirs_in),
            str(theirs_out),
            prefix,
            str(cpu),
            str(wall),
            *([str(library)] if library else []),
        ]
        self._process = subprocess.Popen(
            words,
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=self._errors,
            env=dict(environment),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._finalizer = weakref.finalize(
            self, _end, self._process, (self._requests, self._answers), (self._errors, self._printed)
        )
        self.dead: Exception | None = None
        self.untold: Exception | None = None
        """What went wrong while a space was closed that nobody had any more."""
        self.hung = False
        """Whether the process ended because a call did not return."""
        _, _, (has, abi, *_), _ = self._read()
        self.has = frozenset(name for number, name in enumerate(FUNCTIONS) if has >> number & 1)
        if lacking := [f"{prefix}{name}" for name in _NEEDED if name not in self.has]:
            raise InvalidRequestError("TARGET", prefix, f"there is no function {' and no '.join(lacking)}")
        if abi != ABI:
            raise InvalidRequestError(
                "TARGET", prefix, f"it was compiled with version {abi} of coalloc.h, and this is {ABI}"
            )

    def call(
        self,
        ask: Ask,
        number: int = 0,
        arguments: tuple[int, ...] = (),
        *,
        payload: bytes = b"",
        source: Source | None = None,
    ) -> tuple[int, int, bytes]:
        """Make a call; answer the questions of the source meanwhile.

        Args:
            ask: What for.
            number: The number of the space.
            arguments: At most six numbers of 64 bits.
            payload: What follows them.
            source: Who answers map and unmap.

        Returns:
            Status, first figure, and what follows.

        Raises:
            SubjectDied: If the process ends, or prints.
        """
        if self.dead is not None:
            raise self.dead
        self._write(ask, number, arguments, payload)
        raised: BaseException | None = None
        while True:
            kind, status, figures, more = self._read()
            if kind in (Ask.MAP, Ask.UNMAP):
                assert source is not None  # a call that needs none does not ask
                reply, base = Status.OK, 0
                try:
                    if kind == Ask.MAP:
                        base = source.map(figures[0])
                    else:
                        source.unmap(figures[0], figures[1])
                except ExhaustionError:
                    reply = Status.NOSPACE
                except Exception as error:
                    raised, reply = error, Status.INVALID
                    if self.dead is not None:  # the source called the allocator again, and that was its end
                        raise
                self._write(Ask.REPLY, reply, (base,))
                continue
            if raised is not None:
                raise raised
            if kind & _PRINTED:
                self._printed.seek(0)
                raise self._died("it prints on standard output", self._printed.read().decode(errors="replace"))
            return status, figures[0], more

    def _write(self, kind: int, number: int, arguments: tuple[int, ...], payload: bytes = b"") -> None:
        data = _FRAME.pack(kind, number, len(payload), *arguments, *(0,) * (6 - len(arguments))) + payload
        with contextlib.suppress(BrokenPipeError):  # the next read says why
            while data:
                data = data[os.write(self._requests, data) :]

    def _read(self) -> tuple[int, int, tuple[int, ...], bytes]:
        kind, status, size, *figures = _FRAME.unpack(self._exactly(_FRAME.size))
        return kind, status, tuple(figures), self._exactly(size) if size else b""

    def _exactly(self, size: int) -> bytes:
        data = os.read(self._answers, size)
        if len(data) == size:
            return data
        parts, left = [data], size - len(data)
        while left:
            if not parts[-1]:
                raise self._ended()
            parts.append(os.read(self._answers, left))
            left -= len(parts[-1])
        return b"".join(parts)

    def _ended(self) -> Exception:
        status = self._process.wait()
        self.hung = status == 97
        if status < 0:
            reason = f"it was ended by {signal.Signals(-status).name}"
        else:
            reason = _ENDS.get(status, f"the process ended with status {status}")
        self._errors.seek(0)
        return self._died(reason, self._errors.read().decode(errors="replace"))

    def _died(self, reason: str, output: str) -> Exception:
        said, places = _parted(output)
        report = [line for line in said if line.strip()]
        telling = next(
            (line for line in report if re.search(r"ERROR:|error:|panic", line)), report[0] if report else ""
        )
        frames = _frames(places, self._binary)
        where = f", in {frames[0]}" if frames and not telling else ""
        self.dead = self._fault(
            f"{reason}: {telling.strip()}" if telling else reason + where, "\n".join([*said, *frames])
        )
        self._finalizer()
        return self.dead


def _end(process: subprocess.Popen[bytes], pipes: tuple[int, ...], files: tuple[IO[bytes], ...]) -> None:
    process.kill()
    process.wait()
    for pipe in pipes:
        os.close(pipe)
    for file in files:
        file.close()


_MOST_LINES: Final = 60
"""The lines of a report that are kept."""


def _parted(output: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Part what the process wrote into text, and places as file and offset."""
    said: list[str] = []
    places: list[tuple[str, str]] = []
    for line in output.splitlines():
        if found := re.fullmatch(r"@ (.+) (0x[0-9a-f]+)", line):
            places.append((found[1], found[2]))
        elif len(said) < _MOST_LINES:
            said.append(line)
    return said, places


def _frames(places: Sequence[tuple[str, str]], binary: Path) -> list[str]:
    """Return the places in the allocator as "function at file:line", the innermost first, if there are tools for that."""
    tool = shutil.which("addr2line")
    found: list[str] = []
    for file, offset in places if tool else ():
        if Path(file).name != binary.name:  # the C library
            continue
        command = [tool or "", "-Cfpe", file, hex(int(offset, 16) - 1)]  # a return address is behind its call
        line = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout.strip()
        name, _, where = line.partition(" at ")
        stem = Path(where.partition(":")[0]).name
        if where and not where.startswith("?") and stem not in ("host.c", "whole.c", "guard.c"):
            found.append(f"{name} at {Path(where.partition(' (')[0]).name}")
    return found
