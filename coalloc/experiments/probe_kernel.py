"""The running Linux kernel, asked for pipes: one program of a probe after the other, from standard input.

    python -m coalloc.experiments.probe_kernel [UID]

Each line of standard input is a program as JSON; each line of standard output its answers, and the slots that the user's
other pipes were charged for (-1 if that changed meanwhile).  The first line of output tells the machine.  With a UID the
process takes that user's identity first, which gives up all capabilities.  It changes no setting of the system, and keeps
nothing from one program to the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import select
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from coalloc.experiments.probe import FILE_SIZE, Answer, Machine, Step, pattern

__all__ = ["LEAST_FILES", "Kernel", "machine", "serve"]

LEAST_FILES: Final = 512
"""How many descriptors a process needs."""

_F_SETPIPE_SZ: Final = 1031
_F_GETPIPE_SZ: Final = 1032
_FIONREAD: Final = 0x541B
_NONBLOCK: Final = 2
_GIFT: Final = 8
_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24
_DEFAULT_SLOTS: Final = 16
_RESERVE: Final = 4
_FAR: Final = 1 << 16
_TRIES: Final = 3
_AREA: Final = 1 << 22
"""Bytes of the memory that vmsplice gives."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def machine() -> Machine:
    """Return what this machine is, and who asks.

    Raises:
        OSError: If /proc does not tell it.
    """

    def setting(name: str) -> int:
        return int(Path("/proc/sys/fs", name).read_text(encoding="utf-8"))

    status = Path("/proc/self/status").read_text(encoding="utf-8")
    caps = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return Machine(
        f"{platform.system()} {platform.release()}",
        mmap.PAGESIZE,
        os.getuid(),
        bool(caps >> _CAP_SYS_RESOURCE & 1),
        bool(caps >> _CAP_SYS_ADMIN & 1),
        setting("pipe-max-size"),
        setting("pipe-user-pages-soft"),
        setting("pipe-user-pages-hard"),
    )


class Kernel:
    """Run programs on the running kernel."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._zeros = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._zeros.truncate(FILE_SIZE)
        self._area = mmap.mmap(-1, _AREA)
        self._area[:] = bytes(_AREA)  # else its pages are those of all zeros
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._area))
        self._fds = [[-1, -1], [-1, -1]]
        self._kept: list[int] = []

    def run_and_look(self, program: list[Step], asker: Machine) -> dict[str, Any]:
        """Run a program, and tell what the user's other pipes were charged for; try again if that changed meanwhile."""
        for _ in range(_TRIES):
            before = self.charged(asker)
            answers = self.run(program)
            if self.charged(asker) == before:
                return {"charged": before, "answers": answers}
        return {"charged": -1, "answers": answers}

    def charged(self, asker: Machine) -> int:
        """Return how many slots the user is charged for, where a limit holds: more are asked for until the kernel refuses.

        A new pipe is small when 16 more slots would exceed the soft limit, and pipes grow as long as they do not.  Four pipes
        of a slot are closed one by one at the end, if the last one that was made already exceeds it.
        """
        if not asker.soft or asker.resource or asker.admin:
            return 0
        unit, held = asker.page, list[int]()
        own = 0
        try:
            reserve = [self._kept_pipe(held) for _ in range(_RESERVE)]
            own += sum(self._resized(fd, unit) for fd in reserve)
            while (slots := self._slots(fd := self._kept_pipe(held))) >= _DEFAULT_SLOTS:
                size = asker.max_size
                while size > slots * unit and self._resized(fd, size) < 0:
                    size //= 2
                own += self._slots(fd)
            own += self._resized(fd, unit)
            while self._resized(fd, 2 * unit) > 0:
                own += 1
                fd = self._kept_pipe(held)
                own += self._resized(fd, unit)
            for freed in range(1, _RESERVE + 1):
                held.remove(reserve[freed - 1])
                self._close_kept(reserve[freed - 1])
                if self._resized(fd, 2 * unit) > 0:
                    return asker.soft + freed - 1 - own
            return asker.soft + _FAR  # others exceed the limit: how far makes no difference
        finally:
            for fd in held:
                self._close_kept(fd)

    def _kept_pipe(self, held: list[int]) -> int:
        """Make a pipe, and return the one descriptor of it that stays open."""
        reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.close(writes)
        held.append(reads)
        return reads

    def _close_kept(self, fd: int) -> None:
        os.close(fd)

    def _slots(self, fd: int) -> int:
        return fcntl.fcntl(fd, _F_GETPIPE_SZ) // mmap.PAGESIZE

    def _resized(self, fd: int, size: int) -> int:
        """Set the size of a pipe, and return its slots, or -1."""
        done = int(self._libc.fcntl(fd, _F_SETPIPE_SZ, ctypes.c_long(size)))
        return done // mmap.PAGESIZE if done >= 0 else -1

    def run(self, program: Iterable[Step]) -> list[Answer]:
        """Make the pipes, do the steps, and close everything."""
        try:
            for pipe in (0, 1):
                self._pipe(0, [], pipe)
            return [self._do(number, step) for number, step in enumerate(program)]
        finally:
            for fd in (*self._fds[0], *self._fds[1], *self._kept):
                if fd >= 0:
                    os.close(fd)
            self._fds, self._kept = [[-1, -1], [-1, -1]], []

    def close(self) -> None:
        """Close the file."""
        self._zeros.close()

    def _do(self, number: int, step: Step) -> Answer:
        what, *numbers = step
        read: list[bytes] = []
        try:
            call: Callable[..., int] = getattr(self, f"_{what}")
            result = call(number, read, *numbers)
        except OSError as error:
            result = -(error.errno or 0)
        told: Answer = [result, zlib.crc32(read[0]) if read else 0]
        for pipe in (0, 1):
            told += self._told(pipe)
        return told

    def _told(self, pipe: int) -> list[int]:
        ends = self._fds[pipe]
        fd = max(ends)
        if fd < 0:
            return [-1, -1, -1, -1]
        n = ctypes.c_int()
        self._checked(self._libc.ioctl(fd, _FIONREAD, ctypes.byref(n)))
        events = [-1, -1]
        poller = select.poll()
        for end in ends:
            if end >= 0:
                poller.register(end, select.POLLIN | select.POLLOUT)
        for end, event in poller.poll(0):
            events[ends.index(end)] = event
        events = [0 if event < 0 <= end else event for event, end in zip(events, ends, strict=True)]
        return [n.value, fcntl.fcntl(fd, _F_GETPIPE_SZ), *events]

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result

    # --- steps -------------------------------------------------------------------------------------------------

    def _write(self, number: int, _read: list[bytes], pipe: int, n: int) -> int:
        return os.write(self._fds[pipe][1], pattern(number, n))

    def _read(self, _number: int, read: list[bytes], pipe: int, n: int) -> int:
        read.append(os.read(self._fds[pipe][0], n))
        return len(read[0])

    def _size(self, _number: int, _read: list[bytes], pipe: int, n: int) -> int:
        fd = self._fds[pipe][0] if self._fds[pipe][0] >= 0 else self._fds[pipe][1]
        return self._checked(self._libc.fcntl(fd, _F_SETPIPE_SZ, ctypes.c_long(n)))

    def _tee(self, _number: int, _read: list[bytes], pipe: int, n: int) -> int:
        ends = self._fds[pipe][0], self._fds[1 - pipe][1]
        return self._checked(self._libc.tee(*ends, ctypes.c_size_t(n), _NONBLOCK))

    def _splice(self, _number: int, _read: list[bytes], pipe: int, n: int) -> int:
        ends = self._fds[pipe][0], None, self._fds[1 - pipe][1], None
        return self._checked(self._libc.splice(*ends, ctypes.c_size_t(n), _NONBLOCK))

    def _file(self, _number: int, _read: list[bytes], pipe: int, at: int, n: int) -> int:
        offset = ctypes.c_longlong(at)
        end = self._zeros.fileno(), ctypes.byref(offset), self._fds[pipe][1], None
        return self._checked(self._libc.splice(*end, ctypes.c_size_t(n), _NONBLOCK))

    def _vmsplice(self, _number: int, _read: list[bytes], pipe: int, k: int, n: int, at: int, gift: int) -> int:
        stride = -(-(at + n) // mmap.PAGESIZE) * mmap.PAGESIZE
        parts = (_Iovec * k)(*[_Iovec(self._base + stride * number + at, n) for number in range(k)])
        flags = _NONBLOCK | (_GIFT if gift else 0)
        return self._checked(self._libc.vmsplice(self._fds[pipe][1], parts, ctypes.c_ulong(k), flags))

    def _packet(self, _number: int, _read: list[bytes], pipe: int, on: int) -> int:
        flags = os.O_NONBLOCK | (os.O_DIRECT if on else 0)
        return self._checked(self._libc.fcntl(self._fds[pipe][1], fcntl.F_SETFL, ctypes.c_long(flags)))

    def _close(self, _number: int, _read: list[bytes], pipe: int, end: int) -> int:
        fd, self._fds[pipe][end] = self._fds[pipe][end], -1
        if fd < 0:
            raise OSError(errno.EBADF, "")
        os.close(fd)
        return 0

    def _pipe(self, _number: int, _read: list[bytes], pipe: int) -> int:
        for end in (0, 1):
            with contextlib.suppress(OSError):
                self._close(0, [], pipe, end)
        self._fds[pipe] = list(os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        return 0

    def _more(self, _number: int, _read: list[bytes], k: int, n: int) -> int:
        slots = 0
        for _ in range(k):
            ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._kept += ends
            self._libc.fcntl(ends[0], _F_SETPIPE_SZ, ctypes.c_long(n))
            slots += fcntl.fcntl(ends[0], _F_GETPIPE_SZ) // mmap.PAGESIZE
        return slots


def serve(kernel: Kernel, given: Iterable[str], put: Callable[[str], Any]) -> None:
    """Answer programs line by line, after a line that tells the machine."""
    asker = machine()
    put(json.dumps(attrs.asdict(asker)))
    for line in given:
        put(json.dumps(kernel.run_and_look(json.loads(line), asker)))


def main() -> None:  # pragma: no cover - it changes the whole process
    """Take on an identity, and serve."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, min(hard, 4096)) if hard >= 0 else 4096
    if most < LEAST_FILES:
        sys.exit(f"the process may have {most} descriptors (ulimit -n), and needs {LEAST_FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    kernel = Kernel()  # a file of its own, which others may not be allowed to make
    if len(sys.argv) > 1:
        os.setgroups([])
        os.setgid(int(sys.argv[1]))
        os.setuid(int(sys.argv[1]))
    serve(kernel, sys.stdin, lambda line: print(line, flush=True))


if __name__ == "__main__":  # pragma: no cover - as above
    main()
