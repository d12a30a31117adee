"""`build`: compile an allocator in C together with its host into a program, once for each version of what it is made of.

The key of a program is a hash of the preprocessed source, of the host, and of compiler and flags; so a
change of a header of the user's counts.  Nothing is written beside the user's file.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from coalloc.errors import CoallocError, InvalidRequestError

__all__ = ["CPP_SUFFIXES", "C_SUFFIXES", "FOLDER", "Built", "CompilerError", "build", "cache_folder"]

FOLDER: Final = Path(__file__).parent
"""The folder of coalloc.h."""
C_SUFFIXES: Final = (".c",)
CPP_SUFFIXES: Final = (".cc", ".cpp", ".cxx")
_FLAGS: Final = "-O1 -g -Wall -Wextra"
"""What an allocator is compiled with if the user has no CFLAGS."""
_ALWAYS: Final = ("-fno-omit-frame-pointer", "-fPIE", f"-I{FOLDER}")
_HOST_FLAGS: Final = ("-O2", "-g", "-std=gnu99")
_HOST: Final = ("host.c", "whole.c", "guard.c")
_HEADERS: Final = ("host.h", "coalloc.h", "kstub.h")
_GUARDED: Final = tuple(f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "free"))
_HINT: Final = "install one (on Debian: apt-get install gcc g++) or set"


class CompilerError(CoallocError):
    """A C file cannot be compiled, or there is no compiler.

    Attributes:
        output: What the compiler printed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@attrs.frozen
class Built:
    """A program that is ready to run.

    Args:
        program: Its path.
        warnings: What the compiler said of the user's file; empty if nothing.
    """

    program: Path
    warnings: str = ""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for programs: ``$COALLOC_BUILD_DIR``, or ``coalloc`` in ``$XDG_CACHE_HOME``, which is ``~/.cache``."""
    if own := environment.get("COALLOC_BUILD_DIR"):
        return Path(own)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coalloc"


def build(
    source: Path | None,
    *,
    sanitize: Sequence[str] = (),
    guards: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Built:
    """Compile a file and its host, unless that was done before.

    Args:
        source: A file in C or C++; None compiles the host alone, which opens shared libraries.
        sanitize: Sanitizers to compile with, such as ``address`` and ``undefined``.
        guards: Whether the allocator's memory has guards of our own, where no sanitizer guards it.
        environment: ``CC``, ``CXX``, ``CFLAGS``, ``CXXFLAGS`` and what :func:`cache_folder` says are read from it.

    Raises:
        InvalidRequestError: If there is no such file.
        CompilerError: If there is no compiler, or the file cannot be compiled.
        OSError: If the folder for programs cannot be written.
    """
    if source is not None and not source.is_file():
        raise InvalidRequestError("TARGET", str(source), "there is no such file")
    cpp = source is not None and source.suffix in CPP_SUFFIXES
    c = _compiler("CC", ("cc", "gcc", "clang"), environment)
    own = _compiler("CXX", ("c++", "g++", "clang++"), environment) if cpp else c
    checks = [f"-fsanitize={','.join(sanitize)}", "-fno-sanitize-recover=all"] if sanitize else []
    guards = guards and not sanitize
    checks += [] if guards else ["-DCOALLOC_SANITIZED"]
    flags = [*shlex.split(environment.get("CXXFLAGS" if cpp else "CFLAGS", _FLAGS)), *_ALWAYS, *checks]
    folder = cache_folder(environment)
    host = [*c, *_HOST_FLAGS, *_ALWAYS, *checks]
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in (*_HOST, *_HEADERS)]
    host_key = _key([_identity(c), *host, *texts])
    with _kept(folder / f"host-{host_key}") as made:
        for name in _HOST if made is not None else ():
            _run([*host, "-c", str(FOLDER / name), "-o", f"{made}/{name.removesuffix('.c')}.o"])
    objects = [f"{folder}/host-{host_key}/{name.removesuffix('.c')}.o" for name in _HOST]
    preprocessed = _run([*own, *flags, "-E", str(source)], source) if source is not None else ""
    kept = folder / _key([host_key, _identity(own), *flags, preprocessed])
    with _kept(kept) as made:
        if made is not None:
            said = ""
            if source is not None:
                said = _run([*own, *flags, "-c", str(source), "-o", f"{made}/subject.o"], source, both=True)
                objects.insert(0, f"{made}/subject.o")
            link = [*own, *checks, "-pie", "-rdynamic", *(_GUARDED if guards else ()), *objects]
            _run([*link, "-o", f"{made}/host", "-pthread", "-ldl", "-lm"], source)
            (made / "warnings").write_text(said, encoding="utf-8")
    return Built(kept / "host", (kept / "warnings").read_text(encoding="utf-8"))


@contextmanager
def _kept(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to fill, which then gets its name; or None if there is one of that name, filled by whoever was first."""
    if folder.exists():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The folder is renamed at the end, so that a build that is interrupted leaves no half.
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        yield made
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _key(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:24]


def _compiler(variable: str, names: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command of a compiler: what the variable says, or the first of the names that is installed."""
    words = shlex.split(environment.get(variable, ""))
    for name in words[:1] or names:
        if shutil.which(name, path=environment.get("PATH")):
            return words or [name]
    what = f"{variable}={words[0]} is not installed" if words else f"there is none of {', '.join(names)}"
    raise CompilerError(f"no compiler: {what}; {_HINT} {variable}")


def _identity(command: Sequence[str]) -> str:
    """Return what changes when a compiler is replaced by another of its name."""
    path = Path(shutil.which(command[0]) or command[0]).resolve()
    return f"{path} {path.stat().st_mtime_ns if path.exists() else 0}"


def _run(command: Sequence[str], source: Path | None = None, *, both: bool = False) -> str:
    """Run a compiler; return what it printed, with ``both`` its warnings, too."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        first = next(
            (line for line in lines if "error" in line or "undefined" in line), done.stderr.strip() or "no message"
        )
        raise CompilerError(f"{source or 'the host'} cannot be compiled: {first}", done.stderr)
    return done.stdout + done.stderr * both
