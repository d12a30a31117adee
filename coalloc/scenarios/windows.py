"""The scenario ``windows``: windows that real kernels had between two steps, each in a wrong and a right version.

A *window* is so small that every schedule of a few preemptions can be run.  The wrong version has a bug that a kernel had; its
mutant number is that of the conformance kit.  Some schedule shows the bug, and the text of the schedule replays it.  The right
version has no finding, and the explorer reports that it has run all schedules within the bound.

>>> result = look(WINDOWS["charge"])
>>> str(result.run.findings[0]), str(result.run.schedule)
('limit exceeded: PI1: 32768 bytes are charged, the limit is 16384', '2>1')
>>> look(WINDOWS["charge"], right=True).complete
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from coalloc.contract import EAGER, Fit
from coalloc.errors import ExhaustionError, InvalidRequestError, Violation
from coalloc.kernel.giant import GIANT
from coalloc.pipes.budget import Budget
from coalloc.pipes.eras import PIPE_SIZE
from coalloc.pipes.states import ERAS
from coalloc.scenarios.options import SEED, Flag, Int, Names, Option, Text
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.sched.explore import SearchResult, explore, search
from coalloc.sched.locks import Lock
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Body, SleepOn, Spend, Unlock, WakeUp
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import FindingKind, Run
from coalloc.sched.schedule import Driver, Schedule
from coalloc.space.coalescing import CoalescingSpace
from coalloc.units import PAGE_SIZE
from coalloc.vm.kernelmap import KernelMap

__all__ = ["DRIVERS", "OFFERED", "WINDOWS", "Replayed", "Searches", "Window", "look"]


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


def look(
    window: Window,
    *,
    right: bool = False,
    driver: str = "exhaustive",
    preemptions: int = 2,
    most: int = 10_000,
    seed: int = 0,
) -> SearchResult:
    """Look for a schedule that shows a window, and shorten it.

    Args:
        window: The window.
        right: Whether to search the right version.
        driver: The name of a driver, one of :data:`DRIVERS`.
        preemptions: The most preemptions of the exhaustive driver, or the changes of priority of PCT, >= 0.
        most: The most schedules, >= 1.
        seed: The seed of the other drivers.

    Raises:
        InvalidRequestError: For an unknown driver, or a number out of range.
    """
    if driver not in DRIVERS:
        raise InvalidRequestError("driver", driver, f"is no driver; there are {', '.join(DRIVERS)}")

    def make() -> Machine:
        return window.make(right)

    if driver == "exhaustive":
        return explore(make, preemptions=preemptions, most=most)
    drivers: Iterator[Driver] = (
        RandomDriver(seed + number)
        if driver == "random"
        else PctDriver(seed + number, changes=preemptions, steps=_LENGTH)
        for number in range(most)
    )
    return search(make, drivers)


DRIVERS: Final = ("exhaustive", "random", "pct")
_LENGTH: Final = 24
"""The approximate number of steps of a window."""


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
        Window("reference", "the reference space under one lock, with sleepers", "", None, _reference),
    )
}
"""The windows by name; the last one has a right version only."""

# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class Searches(Result):
    """The results of the searches for schedules.

    Args:
        rows: For each version of each window: the window, whether the version is the right one, and the search's result.
    """

    rows: tuple[tuple[Window, bool, SearchResult], ...]

    def parts(self) -> Iterator[Table]:
        """Yield a table with a row for each version."""
        yield Table(
            (
                *(Column(name, no_wrap=True) for name in ("window", "", "version")),
                Column("schedules", right=True, no_wrap=True),
                Column("schedule that shows it", no_wrap=True),
                Column("found"),
            ),
            tuple(
                (
                    window.name,
                    window.mutant,
                    _version(right),
                    f"{found.schedules:,}",
                    "" if found.run is None else str(found.run.schedule),
                    f"none, in {'all' if found.complete else 'so many'}"
                    if found.finding is None
                    else str(found.finding),
                )
                for window, right, found in self.rows
            ),
        )

    def as_json(self) -> object:
        """Return what was found, version by version."""
        return [
            {
                "window": window.name,
                "mutant": window.mutant,
                "version": _version(right),
                "schedules": found.schedules,
                "complete": found.complete,
                "finding": None if found.finding is None else str(found.finding),
                "schedule": None if found.run is None else str(found.run.schedule),
            }
            for window, right, found in self.rows
        ]

    @property
    def failure(self) -> str:
        """The wrong versions without a finding, and the right ones with one."""
        missed = [
            f"{window.name} ({_version(right)})"
            for window, right, found in self.rows
            if (found.finding is None) is not right
        ]
        return f"not as it should be: {', '.join(missed)}" if missed else ""


@attrs.frozen
class Replayed(Result):
    """The replay of one schedule of one window; it fails if there is a finding, which its text states.

    Args:
        window: The window's name.
        schedule: The schedule, as it was given.
        run: The run.
    """

    window: str
    schedule: str
    run: Run

    def parts(self) -> Iterator[str]:
        """Yield the finding, or a line that says that there is none."""
        yield "\n".join(map(str, self.run.findings)) or f"nothing is found in {self.run.steps} steps"

    def as_json(self) -> object:
        """Return the findings."""
        return {"window": self.window, "schedule": self.schedule, "findings": [str(f) for f in self.run.findings]}

    @property
    def failed(self) -> bool:
        """Whether there is a finding."""
        return bool(self.run.findings)


def _version(right: bool) -> str:
    return "right" if right else "wrong"


def _run(
    progress: Progress,
    *,
    names: tuple[str, ...],
    driver: str,
    preemptions: int,
    most: int,
    schedule: str,
    fixed: bool,
    seed: int,
) -> Searches | Replayed:
    chosen = [WINDOWS[name] for name in names]
    if schedule:
        if len(chosen) != 1:
            raise InvalidRequestError("--schedule", schedule, "name the one window that it is for")
        (window,) = chosen
        run = window.make(fixed or window.finds is None).run(Schedule.parse(schedule))
        return Replayed(window.name, schedule, run)
    rows: list[tuple[Window, bool, SearchResult]] = []
    for window in chosen:
        for right in (False, True) if window.finds else (True,):
            progress.say(f"{window.name}, {_version(right)}")
            found = look(window, right=right, driver=driver, preemptions=preemptions, most=most, seed=seed)
            rows.append((window, right, found))
    return Searches(tuple(rows))


OFFERED: Final = (
    Scenario(
        "windows",
        """Look at every schedule of small configurations: windows that real kernels had, and the versions that are right.

        Exit status 0 if each bug is found and each right version passes, 1 if not.  With --schedule: 1 if something is found.
        """,
        _run,
        (
            Option("names", Names(WINDOWS, "window"), None, f"Which; there are {', '.join(WINDOWS)}.", "[NAME]..."),
            Option("driver", Text(), "exhaustive", f"Who chooses the schedules: {', '.join(DRIVERS)}."),
            Option("preemptions", Int(), 2, "Most preemptions in a schedule."),
            Option("most", Int(), 10_000, "Most schedules to run of each."),
            Option("schedule", Text(), "", 'Run this schedule of one window only, such as "2>1".'),
            Option("fixed", Flag(), False, "With --schedule: run the right version."),
            SEED,
        ),
        rank=60,
    ),
)
"""The scenario of this module."""
