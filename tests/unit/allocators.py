"""Allocators with faults that only the tests of the kit need, and children that are threads of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, ClassVar, NoReturn

import attrs

from coalloc import CoalescingSpace, Contract, Fit
from coalloc.contract import ANY_RELEASE
from coalloc.testing.hidden import hide
from coalloc.testing.isolate import serve

__all__ = [
    "AtMostFive",
    "Children",
    "Dies",
    "DiesUnmade",
    "Exits",
    "Hangs",
    "HangsUnmade",
    "Loops",
    "NoContract",
    "Odd",
    "Plain",
    "Same",
    "Unmade",
]


class Children:
    """What stands in for multiprocessing: a child is a thread, so that its work is done, and measured, in this process."""

    killed: ClassVar = threading.Event()
    """Set while no child has to live; what hangs waits for it."""
    last: ClassVar[Children.Process]
    """The child that was started last."""

    @classmethod
    def hang(cls) -> NoReturn:
        """Run no Python until the child is killed."""
        cls.killed.wait()
        raise SystemExit

    def set_forkserver_preload(self, _names: list[str]) -> None:
        """Load nothing: all is loaded."""

    Pipe = staticmethod(Pipe)

    class Process:
        """A child."""

        exitcode = 3

        def __init__(self, *, target: object, args: tuple[Any, ...], daemon: bool) -> None:
            del target, daemon
            connection, _, *self.work = args
            self.connection = Connection(os.dup(connection.fileno()), readable=False)
            self.thread = threading.Thread(target=self.run)
            self.sentinel, self._end = Pipe(duplex=False)

        def start(self) -> None:
            """Begin to work."""
            Children.killed.clear()
            Children.last = self
            self.thread.start()

        def run(self) -> None:
            """Do the work."""
            work: Callable[..., object]
            work, target, arguments = self.work
            with self._end, self.connection, suppress(OSError):
                serve(self.connection, work, target, arguments)

        def die(self) -> NoReturn:
            """End at once, without a word."""
            self.connection.close()
            raise SystemExit

        def kill(self) -> None:
            """Let what hangs end."""
            Children.killed.set()

        def join(self) -> None:
            """Wait for the end."""
            self.thread.join()


class Plain(CoalescingSpace):
    """Nothing is wrong with it."""

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=16384)


class AtMostFive(Plain):
    """It serves no request of more than five pages, without a word in its contract."""

    def alloc(self, size: int) -> int:
        """Refuse what is too large."""
        if size > 5 * 4096:
            raise MemoryError
        return super().alloc(size)


class NoContract(Plain):
    """It declares nothing."""

    contract = None  # type: ignore[assignment]


class Odd(Plain):
    """What it declares is no contract."""

    contract = "first fit"  # type: ignore[assignment]


class Hangs(Plain):
    """A free does not return, and runs no Python meanwhile."""

    def free(self, base: int) -> None:
        """Wait for the end of the process."""
        del base
        Children.hang()


class Loops(Plain):
    """A free does not return, and runs Python meanwhile."""

    def free(self, base: int) -> None:
        """Turn round and round until the end of the process."""
        while not Children.killed.is_set():
            pass
        raise SystemExit(base)


class Dies(Plain):
    """A free ends the process."""

    def free(self, base: int) -> None:
        """Die."""
        del base
        Children.last.die()


class Exits(Plain):
    """A free raises SystemExit."""

    def free(self, base: int) -> None:
        """Leave."""
        raise SystemExit(base)


class Unmade(Plain):
    """It cannot be made."""

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        raise RuntimeError(f"no room for {kva_limit} bytes of {type(source).__name__}")


class HangsUnmade(Plain):
    """It hangs while it is made."""

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        del source, kva_limit
        Children.hang()


class DiesUnmade(Plain):
    """It ends the process while it is made."""

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        del source, kva_limit
        Children.last.die()


def bare(source: Any, *, kva_limit: int) -> Any:
    """Make an allocator that no pipe can use: its pages cannot be touched."""
    return hide(Plain, "touch")(source, kva_limit=kva_limit)


class Hashes(CoalescingSpace):
    """Its addresses depend on the hash of a string."""

    contract = attrs.evolve(Contract(fit=None), release=ANY_RELEASE)

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        fit = Fit.FIRST if hash("egg") % 2 else Fit.NEXT  # odd with the first seed of the kit, and even with the second
        super().__init__(source, kva_limit=kva_limit, arena_size=1 << 15, fit=fit)


class Same(Plain):
    """All buffers have the same address."""

    def alloc(self, size: int) -> int:
        """Return the address of the first buffer."""
        return self._first if self.stats().allocs else self._begin(size)

    def _begin(self, size: int) -> int:
        self._first = super().alloc(size)
        return self._first
