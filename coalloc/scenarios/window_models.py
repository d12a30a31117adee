"""`WINDOWS`: windows that real kernels had between two steps, as small machines, each in a wrong and a right version.

A *window* is so small that every schedule of a few preemptions can be run, or every state visited.  The wrong version has a bug
that a kernel had; its mutant number is that of the conformance kit.  Two windows never end: what they find is a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final

import attrs

from coalloc.contract import EAGER, Fit
from coalloc.errors import ExhaustionError, Violation
from coalloc.kernel.giant import GIANT
from coalloc.kernel.pipelock import PIPELOCKS, LockedPipe, PipelockRules
from coalloc.pipes.budget import Budget
from coalloc.pipes.eras import PIPE_SIZE
from coalloc.pipes.states import ERAS
from coalloc.sched.locks import HANDOFF, SLEEPING, Lock
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Body, Finish, SleepOn, Spend, Start, Unlock, WakeUp
from coalloc.sched.run import FindingKind
from coalloc.space.coalescing import CoalescingSpace
from coalloc.units import PAGE_SIZE
from coalloc.vm.kernelmap import KernelMap

__all__ = ["WINDOWS", "Window", "pipelock_machine"]


@attrs.frozen
class Window:
    """A window, and the finding that its wrong version leads to.

    Args:
        name: Its key in ``WINDOWS``.
        title: A description of what the wrong version does.
        mutant: The number of the bug in the conformance kit's list, such as M32; empty if the list does not have it.
        finds: The kind of finding that the wrong version leads to; None if there is no wrong version.
        make: Makes a machine with its threads, of the right version if its argument is true.
    """

    name: str
    title: str
    mutant: str
    finds: FindingKind | None
    make: Callable[[bool], Machine]


# --- M32: the limit is checked and charged in two steps ------------------------------------------------------


def _charge(right: bool) -> Machine:
    budget, lock = Budget(ERAS["2006"], PIPE_SIZE), Lock("pipe_map")

    def pipespace() -> Body:
        yield Acquire(lock)
        fits = budget.leaves_room(PIPE_SIZE)
        if not right:
            yield Unlock(lock)  # the lock is free while the buffer is mapped
            yield Acquire(lock)
        if fits:
            budget.add(PIPE_SIZE)
        yield Unlock(lock)

    def watch() -> Iterable[Violation]:
        if budget.kva_used > budget.maxpipekva:
            yield Violation("PI1", f"{budget.kva_used} bytes are charged, the limit is {budget.maxpipekva}")

    return _machine(watch, first=pipespace(), second=pipespace())


# --- M41: an arena that is no longer needed is kept --------------------------------------------------------------


class _Arenas:
    """Arenas of two buffers each, the lowest free buffer first; the lock is released while an arena is mapped."""

    def __init__(self, right: bool) -> None:
        self._right = right
        self._source = KernelMap(base=0, size=16 * PAGE_SIZE)
        self._lock = Lock("arenas")
        self._free: list[int] = []
        self._arenas: list[int] = []

    def alloc(self) -> Body:
        yield Acquire(self._lock)
        if not self._free:
            yield Unlock(self._lock)  # mapping may sleep
            base = self._source.map(2 * PAGE_SIZE)
            yield Acquire(self._lock)
            if self._right and self._free:  # another thread was faster
                self._source.unmap(base, 2 * PAGE_SIZE)
            else:
                self._arenas.append(base)
                self._free = sorted([*self._free, base, base + PAGE_SIZE])
        self._free.pop(0)
        yield Unlock(self._lock)

    def violations(self) -> Iterable[Violation]:
        for base in self._arenas:
            if {base, base + PAGE_SIZE} <= set(self._free):
                yield Violation("I10", f"the arena at {base:#x} is wholly free, and kept")


def _import(right: bool) -> Machine:
    arenas = _Arenas(right)
    return _machine(arenas.violations, first=arenas.alloc(), second=arenas.alloc())


# --- M61, M62: who is woken, and when ---------------------------------------------------------------------------


def _two_pages() -> tuple[CoalescingSpace, Lock, list[int]]:
    """Return a space of two pages, both of them taken, and its lock."""
    size = 2 * PAGE_SIZE
    kernel = KernelMap(base=0, size=size)
    space = CoalescingSpace(kernel, kva_limit=size, arena_size=size, fit=Fit.FIRST, release=EAGER)
    return space, Lock("arenas"), [space.alloc(PAGE_SIZE), space.alloc(PAGE_SIZE)]


def _alloc(space: CoalescingSpace, lock: Lock, n_pages: int, *, gap: bool = False) -> Body:
    """Allocate, sleeping until that succeeds, and free the buffer at once."""
    yield Acquire(lock)
    while True:
        try:
            base = space.alloc(n_pages * PAGE_SIZE)
            break
        except ExhaustionError:
            if gap:
                yield Unlock(lock)  # a free in this gap wakes nobody
                yield SleepOn("space")
                yield Acquire(lock)
            else:
                yield SleepOn("space", lock)
    space.free(base)
    yield WakeUp("space")
    yield Unlock(lock)


def _free(space: CoalescingSpace, lock: Lock, base: int, *, least: int = 0, one: bool = False) -> Body:
    """Free a buffer and wake all sleepers, or only one of them if ``one``; wake none if it is smaller than ``least``."""
    yield Acquire(lock)
    size = space.size_of(base)
    space.free(base)
    if size >= least:
        yield WakeUp("space", one=one)
    yield Unlock(lock)


def _exact(right: bool) -> Machine:
    space, lock, bases = _two_pages()
    least = 0 if right else 2 * PAGE_SIZE  # the size that the sleeper waits for
    frees = {f"free {number}": _free(space, lock, base, least=least) for number, base in enumerate(bases)}
    return _machine(space.violations, **frees, sleeper=_alloc(space, lock, 2))


def _sleep(right: bool) -> Machine:
    space, lock, bases = _two_pages()
    frees = {f"free {number}": _free(space, lock, base) for number, base in enumerate(bases)}
    return _machine(space.violations, **frees, sleeper=_alloc(space, lock, 2, gap=not right))


def _wake_one(right: bool) -> Machine:
    space, lock, bases = _two_pages()

    def small() -> Body:
        """Wait for one page, and only then free the other one, too."""
        yield from _alloc(space, lock, 1)
        yield from _free(space, lock, bases[1])

    free = _free(space, lock, bases[0], one=not right)
    return _machine(space.violations, free=free, small=small(), big=_alloc(space, lock, 2))


# --- the mail's reversal, as the deadlock that it warns of ---------------------------------------------------------


def _order(right: bool) -> Machine:
    filedesc = Lock("filedesc structure")

    def fdgrowtable() -> Body:
        yield Acquire(filedesc)
        if right:
            yield Unlock(filedesc)
        yield Acquire(GIANT)  # uma_large_free
        yield Unlock(GIANT)
        if not right:
            yield Unlock(filedesc)

    def under_giant() -> Body:
        yield Acquire(GIANT)
        yield Acquire(filedesc)
        yield Unlock(filedesc)
        yield Unlock(GIANT)

    return _machine(lambda: (), pipe=fdgrowtable(), giant=under_giant())


# --- the reference under one lock ----------------------------------------------------------------------------------


def _reference(_right: bool) -> Machine:
    size = 4 * PAGE_SIZE
    kernel = KernelMap(base=0, size=size)
    space = CoalescingSpace(kernel, kva_limit=size, arena_size=2 * PAGE_SIZE, release=EAGER)
    lock = Lock("arenas")

    def user(n_pages: int) -> Body:
        yield Acquire(lock)
        while True:
            try:
                base = space.alloc(n_pages * PAGE_SIZE)
                break
            except ExhaustionError:
                yield SleepOn("space", lock)
        yield Unlock(lock)
        yield Spend(1)
        yield Acquire(lock)
        space.free(base)
        yield WakeUp("space")
        yield Unlock(lock)

    def watch() -> Iterable[Violation]:
        yield from space.violations()
        yield from kernel.violations()

    return _machine(watch, one=user(1), two=user(2), other=user(2))


# --- livelock: pipelock and those who wait for data sleep on one channel -------------------------------------------


def pipelock_machine(rules: PipelockRules, readers: int = 2) -> Machine:
    """Make readers and a writer of a pipe of one byte, which holds one; the first reader reads twice."""
    pipe = LockedPipe(rules, size=1, cnt=1)
    machine = Machine(snapshot=pipe.snapshot)

    def read(times: int) -> Body:
        for _ in range(times):
            yield from pipe.read(1)
            yield Finish("read")

    def write() -> Body:
        for _ in range(readers):
            yield from pipe.write(1)
            yield Finish("write")

    for number in range(1, readers + 1):
        machine.spawn(f"reader {number}", read(2 if number == 1 else 1))
    machine.spawn("writer", write(), priority=1)  # who waits for data is woken first
    return machine


def _pipelock(right: bool) -> Machine:
    return pipelock_machine(PIPELOCKS["2022" if right else "2020"])


# --- starvation: a lock that is free is whoever's comes first --------------------------------------------------------


def _barging(right: bool) -> Machine:
    lock = Lock("lock", discipline=HANDOFF if right else SLEEPING)

    def user() -> Body:
        while True:
            yield Start("section")
            yield Acquire(lock)
            yield Spend(1)
            yield Unlock(lock)
            yield Finish("section")

    def nothing() -> Hashable:
        return None

    machine = Machine(snapshot=nothing)
    for name in ("one", "two", "three"):
        machine.spawn(name, user())
    return machine


def _machine(watch: Callable[[], Iterable[Violation]], **bodies: Body) -> Machine:
    machine = Machine(watch=watch)
    for name, body in bodies.items():
        machine.spawn(name, body)
    return machine


WINDOWS: Final[Mapping[str, Window]] = {
    window.name: window
    for window in (
        Window(
            "charge",
            "the limit is checked in one step and charged in another",
            "M32",
            FindingKind.LIMIT_EXCEEDED,
            _charge,
        ),
        Window(
            "import", "an arena is kept although another thread made room", "M41", FindingKind.BROKEN_INVARIANT, _import
        ),
        Window(
            "exact", "only a free of the size waited for wakes the sleeper", "M61", FindingKind.SLEEPS_FOR_EVER, _exact
        ),
        Window("sleep", "the lock is given back before one goes to sleep", "M61", FindingKind.LOST_WAKEUP, _sleep),
        Window(
            "wake-one", "one sleeper is woken, and it is the wrong one", "M62", FindingKind.SLEEPS_FOR_EVER, _wake_one
        ),
        Window("order", "Giant is taken under a descriptor table's lock", "", FindingKind.DEADLOCK, _order),
        Window(
            "pipelock",
            "who waits for pipelock sleeps on the channel of those who wait for data",
            "",
            FindingKind.LIVELOCK,
            _pipelock,
        ),
        Window("barging", "a lock that is released goes to whoever comes first", "", FindingKind.STARVATION, _barging),
        Window("reference", "the reference space under one lock, with sleepers", "", None, _reference),
    )
}
"""The windows by name; the last one has a right version only."""
