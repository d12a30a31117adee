"""`native_target`: the TARGETs of allocators in C: ``mine.c``, ``mine.cpp``, ``./mine.so``, with a prefix and settings.

``FILE[:PREFIX][:SETTING]...`` names one allocator.  The prefix can be left out where the file has one.  The settings are
``sanitize=address+undefined``, ``valgrind``, ``quantum=64`` (bytes), and ``options=TEXT`` for the allocator's ``open``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from coalloc.contract import Contract
from coalloc.contract_text import parse_contract
from coalloc.errors import InvalidRequestError
from coalloc.native.build import C_SUFFIXES, CPP_SUFFIXES, Built, build
from coalloc.native.host import Ask, Host, SubjectDied
from coalloc.native.space import NativeSpace
from coalloc.units import PAGE_SIZE, MiB
from coalloc.vm.kernelmap import KernelMap
from coalloc.vm.source import Source

__all__ = ["NativeFactory", "is_native", "native_target", "with_settings"]

_LIBRARIES: Final = (".so", ".dylib")
_SANITIZERS: Final = ("address", "undefined", "thread", "memory")
_CPU: Final = 500
"""Milliseconds of processor time that a call may take."""
_CPU_AGAIN: Final = 50
"""The same once a call has taken too long, so that a program that hangs is shortened soon."""
_WALL: Final = 5000
"""Milliseconds that a call may take at all."""
_SLOWER: Final = 20
"""The factor by which more time is given where a tool watches every instruction."""
_KIT_QUANTA: Final = (256, 64, 16, PAGE_SIZE)
"""The quanta that the kit tries: with the first of them a page holds 16."""
_EXITS: Final = {
    "ASAN_OPTIONS": "exitcode=94:detect_leaks=0:abort_on_error=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "exitcode=94:print_stacktrace=1:halt_on_error=1",
    "MSAN_OPTIONS": "exitcode=94",
    "TSAN_OPTIONS": "exitcode=94",
}
_VALGRIND: Final = ("valgrind", "--quiet", "--error-exitcode=93", "--exit-on-first-error=yes", "--num-callers=8")


def is_native(text: str) -> bool:
    """Tell whether a TARGET names a file in C, in C++, or a shared library.

    >>> is_native("mine.c"), is_native("./mine.so:first_"), is_native("mine.py:make")
    (True, True, False)
    """
    return Path(text.partition(":")[0]).suffix in (*C_SUFFIXES, *CPP_SUFFIXES, *_LIBRARIES)


@attrs.frozen
class _Target:
    """What a TARGET says."""

    file: Path
    prefix: str | None = None
    sanitize: tuple[str, ...] = ()
    valgrind: bool = False
    quantum: int | None = None
    options: str = ""


def _parsed(text: str, option: str) -> _Target:
    file, *words = text.split(":")
    target = _Target(Path(file))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and word == "valgrind":
            target = attrs.evolve(target, valgrind=True)
        elif not equals and target.prefix is None and re.fullmatch(r"[A-Za-z_]\w*", word):
            target = attrs.evolve(target, prefix=word)
        elif name == "sanitize" and value and set(value.split("+")) <= set(_SANITIZERS):
            target = attrs.evolve(target, sanitize=tuple(value.split("+")))
        elif name == "quantum" and re.fullmatch(r"\d{1,19}", value) and (n := int(value)) and not n & (n - 1):
            target = attrs.evolve(target, quantum=n)
        elif equals and name == "options":
            target = attrs.evolve(target, options=value)
        else:
            raise InvalidRequestError(
                option,
                text,
                f"{word!r} is no prefix and none of sanitize=address+undefined, valgrind, quantum=BYTES, options=TEXT",
            )
    if target.valgrind and target.sanitize:
        raise InvalidRequestError(option, text, "valgrind cannot watch what a sanitizer watches; leave one out")
    return target


def with_settings(text: str, *, sanitize: str = "", valgrind: bool = False) -> str:
    """Return a TARGET with further settings; one that is not in C is returned as it is.

    Args:
        text: The TARGET.
        sanitize: Sanitizers, with commas between them.
        valgrind: Whether valgrind watches.

    Raises:
        InvalidRequestError: If settings are given for a TARGET that is not in C.

    >>> with_settings("mine.c", sanitize="address,undefined")
    'mine.c:sanitize=address+undefined'
    """
    if not (sanitize or valgrind):
        return text
    if not is_native(text):
        raise InvalidRequestError("--sanitize" if sanitize else "--valgrind", text, "is for allocators in C")
    return text + f":sanitize={sanitize.replace(',', '+')}" * bool(sanitize) + ":valgrind" * valgrind


class NativeFactory:
    """Make spaces of one allocator in C, all in one process until that ends; then the next space gets a new one.

    Args:
        target: The file and its settings.
        built: The program in which it lives.
        prefix: What the names of its functions begin with.
        tried: Quanta to try, in bytes; the first that the allocator takes is that of a space for which none is given.  If there
            are none, that is the granule of the source.
        fault: Makes what a call raises when the process has ended, of the reason and the output.
    """

    def __init__(
        self,
        target: _Target,
        built: Built,
        prefix: str,
        tried: tuple[int, ...] = (),
        fault: Callable[[str, str], Exception] = SubjectDied,
    ) -> None:
        self._target = target
        self.prefix = prefix
        self._built = built
        self._tried = tried
        self._fault = fault
        self._host: Host | None = None
        self._contract: Contract | None = None
        self._quanta: tuple[int, ...] | None = None
        self._hung = False
        self.__doc__ = f"{target.file.name}, an allocator in C (prefix {prefix})"
        self.__name__ = prefix.rstrip("_")

    def for_kit(self, fault: Callable[[str, str], Exception] = SubjectDied) -> NativeFactory:
        """Return the factory for the conformance kit: its quanta are less than a page, so that an arena has several of them."""
        tried = () if self._target.quantum is not None else _KIT_QUANTA
        return NativeFactory(self._target, self._built, self.prefix, tried, fault)

    def restart(self) -> None:
        """Let the next space have a new process, in which no other space has been."""
        self._host = None

    @property
    def options(self) -> str:
        """The text for the allocator that the TARGET gives."""
        return self._target.options

    @property
    def warnings(self) -> str:
        """What the compiler said of the file; empty if nothing."""
        return self._built.warnings

    def unjudged(self) -> tuple[str, ...]:
        """Return what the allocator declares that cannot be judged, as sentences."""
        declared = self._declared(self.host())
        if declared is None or declared.work is None:
            return ()
        return (f"work={declared.work.value} is not judged: the steps of code in C are not counted",)

    @property
    def quanta(self) -> tuple[int, ...]:
        """The quanta, in bytes, of those to try that the allocator takes."""
        if self._quanta is None:
            self._quanta = tuple(quantum for quantum in self._tried if self._takes(quantum))
        return self._quanta

    @property
    def usual_quantum(self) -> int | None:
        """The quantum, in bytes, of a space for which none is given; None is the granule of its source."""
        return self._target.quantum or next(iter(self.quanta), None)

    def _takes(self, quantum: int) -> bool:
        try:
            self(KernelMap(size=MiB), kva_limit=MiB, quantum=quantum)
        except InvalidRequestError:
            return False
        return True

    def host(self) -> Host:
        """Return the process, which is started if there is none.

        Raises:
            InvalidRequestError: If the allocator lacks a function that each needs, or declares a contract that cannot be read.
            SubjectDied: If it ends before it is ready.
        """
        if self._host is not None and self._host.untold is not None:
            untold, self._host = self._host.untold, None
            raise untold
        if self._host is None or self._host.dead is not None:
            slower = _SLOWER if self._target.valgrind or self._target.sanitize else 1
            self._hung = self._hung or (self._host is not None and self._host.hung)
            library = self._target.file.resolve() if self._target.file.suffix in _LIBRARIES else None
            self._host = Host(
                [*(_VALGRIND if self._target.valgrind else ()), str(self._built.program)],
                self.prefix,
                cpu=(_CPU_AGAIN if self._hung else _CPU) * slower,
                wall=_WALL * slower // (5 if self._hung else 1),
                library=library,
                environment={**_EXITS, **os.environ},
                fault=self._fault,
            )
            declared = self._declared(self._host)
            self._contract = attrs.evolve(declared, work=None) if declared is not None else None
        return self._host

    def _declared(self, host: Host) -> Contract | None:
        """Return the contract that the allocator declares; None if it declares none."""
        if "contract" not in host.has:
            return None
        text = host.call(Ask.CONTRACT)[2].decode(errors="replace")
        try:
            return parse_contract(text)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{self.prefix}contract()", error.value, error.reason) from None

    def __call__(
        self, source: Source, *, kva_limit: int, quantum: int | None = None, options: str | None = None
    ) -> NativeSpace:
        """Make a space.

        Args:
            source: The source of its arenas.
            kva_limit: The most bytes that it may map.
            quantum: Every base and size is a multiple of it; a power of two in bytes, at most the granule of the source.
            options: A text for the allocator; None takes the one of the TARGET.

        Raises:
            InvalidRequestError: If the allocator refuses to be opened.
            SubjectDied: If its process ends.
        """
        host = self.host()
        if quantum is None:
            quantum = self.usual_quantum
        given = self._target.options if options is None else options
        return NativeSpace(host, source, kva_limit=kva_limit, contract=self._contract, quantum=quantum, options=given)


def native_target(text: str, option: str = "TARGET") -> NativeFactory:
    """Return the factory for an allocator in C; its file is compiled if that was not done before.

    Args:
        text: The TARGET.
        option: What it was given for, for errors.

    Raises:
        InvalidRequestError: If there is no such file or prefix, or a setting that is not known.
        CompilerError: If it cannot be compiled.
    """
    target = _parsed(text, option)
    if not target.file.is_file():
        raise InvalidRequestError(option, text, f"there is no file {target.file}")
    if target.valgrind and shutil.which("valgrind") is None:
        raise InvalidRequestError(option, text, "valgrind is not installed (on Debian: apt-get install valgrind)")
    library = target.file.suffix in _LIBRARIES
    built = build(None if library else target.file, sanitize=target.sanitize, guards=not target.valgrind)
    prefixes = _prefixes(target.file if library else built.program)
    if target.prefix is not None and target.prefix in prefixes:
        return NativeFactory(target, built, target.prefix)
    if target.prefix is None and len(prefixes) == 1:
        return NativeFactory(target, built, prefixes[0])
    if not prefixes:
        raise InvalidRequestError(
            option, text, "it has no COALLOC_SUBJECT(prefix); see coalloc.h (coalloc native header)"
        )
    reason = f"there is no prefix {target.prefix}" if target.prefix else "it has several allocators"
    raise InvalidRequestError(
        option, text, f"{reason}; name one of {', '.join(prefixes)}, as in {target.file}:{prefixes[0]}"
    )


def _prefixes(binary: Path) -> list[str]:
    """Return the prefixes of all allocators in a program or library: of its symbols that end in "coalloc_abi"."""
    found = re.findall(rb"\0([A-Za-z_]\w*?)coalloc_abi(?=\0)", binary.read_bytes())
    return sorted({name.decode() for name in found})
