"""Calls of FreeBSD as strace would write them, for the readers of what truss and kdump print.

pipe2(2) stores its two descriptors in memory, which neither tool prints; they are derived.  pipe(2) of FreeBSD 10 and before
returns them, and truss prints them.  Messages with descriptors are not followed.

Source: FreeBSD usr.bin/truss/syscalls.c, usr.bin/kdump/kdump.c; fcntl(2), rfork(2), closefrom(2).
"""

from __future__ import annotations

import re
from typing import Final

from coalloc.workload.call_log import UNKNOWN_PAIR

__all__ = ["as_strace", "number"]

_TRANSFERS: Final = frozenset({"read", "write", "readv", "writev", "close"})
_FORKS: Final = frozenset({"fork", "vfork", "rfork", "pdfork"})
_MAKERS: Final = frozenset({
    "socket", "accept", "accept4", "kqueue", "kqueue1", "kqueuex", "shm_open", "shm_open2", "eventfd", "timerfd_create",
    "inotify_init1", "mq_open", "posix_openpt", "fhopen", "__specialfd", "memfd_create",
})  # fmt: skip
_PAIR: Final = re.compile(r"\{ (\d{1,9}), (\d{1,9}) \}")
_ARGUMENT: Final = re.compile(r'"(?:[^"\\]|\\.)*"(?:\.{3})?|\{[^}]*\}|[^,]+')
_HEX: Final = re.compile(r"0x[0-9a-f]{1,8}")
_RFFDG: Final = 1 << 2
_RFCFDG: Final = 1 << 12


def number(text: str) -> int:
    """Read a number, decimal or hexadecimal."""
    return int(text, 16 if "x" in text else 10)


def as_strace(name: str, arguments: str, *, path: str | None = None) -> str | None:
    """Return a call's name and arguments as strace writes them, without the last parenthesis.

    Args:
        name: The name of the call.
        arguments: What is printed between the parentheses.
        path: The name of the file that the call looked up, where it is printed elsewhere.

    Returns:
        None for a call of no interest.
    """
    name = name.removeprefix("freebsd10_").removeprefix("freebsd11_").removeprefix("compat11.")
    given = [_HEX.sub(lambda match: str(int(match[0], 16)), part, count=1) for part in _ARGUMENT.findall(arguments)]
    given = [part.strip() for part in given] or [""]
    closes = "O_CLOEXEC" if "CLOEXEC" in arguments else "0"
    if name in _TRANSFERS:
        return f"{name}({given[0]}"
    if name in ("pipe", "pipe2", "socketpair"):
        pair = _PAIR.search(arguments)
        nonblocking = "|O_NONBLOCK" if "NONBLOCK" in arguments else ""
        return f"{name}({f'[{pair[1]}, {pair[2]}]' if pair else UNKNOWN_PAIR}, {closes}{nonblocking}"
    if name in ("open", "openat"):
        shown = re.search(r'"([^"]{1,4096})"', arguments)
        return f'openat(AT_FDCWD, "{shown[1] if shown else path or "?"}", {_access(arguments)}|{closes}'
    if name in _MAKERS:
        return f"socket({closes}"
    if name in _FORKS:
        return f"clone(flags={'CLONE_FILES' if name == 'rfork' and _shares(arguments) else '0'}"
    if name in ("dup", "dup2"):
        return f"{name}({', '.join(given[:2])}"
    if name == "closefrom":
        return f"close_range({given[0]}, 4294967295, 0"
    if name == "close_range":
        return f"close_range({', '.join(given)}"
    if name in ("execve", "fexecve"):
        return "execve("
    if name == "ioctl":
        return f"ioctl({given[0]}, FIONBIO, ?" if len(given) > 1 and given[1] == "FIONBIO" else None
    return _fcntl(given) if name == "fcntl" and len(given) > 1 else None


def _fcntl(given: list[str]) -> str | None:
    fd, command, *others = given
    if command.startswith("F_DUP2FD") and others:
        return f"dup3({fd}, {others[0]}, {'O_CLOEXEC' if 'CLOEXEC' in command else '0'}"
    return f"fcntl({', '.join([fd, command, *others])}"


def _access(arguments: str) -> str:
    return next((access for access in ("O_WRONLY", "O_RDWR") if access in arguments), "O_RDONLY")


def _shares(arguments: str) -> bool:
    """Tell whether rfork(2) lets the child share its parent's descriptors: with neither RFFDG nor RFCFDG."""
    if "RF" in arguments:
        return "RFFDG" not in arguments and "RFCFDG" not in arguments
    flags = re.match(r"0x[0-9a-f]{1,8}|\d{1,10}", arguments)
    return flags is not None and not number(flags[0]) & (_RFFDG | _RFCFDG)
