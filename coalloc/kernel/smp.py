"""`Machine`: threads on CPUs that are switched where a schedule says, and nowhere else; the same schedule gives the same run.

A *thread* is a generator that yields what it does: :class:`Acquire`, :class:`TryAcquire`, :class:`Release`, :class:`SleepOn`,
:class:`WakeUp`, :class:`Spend`, :class:`Preempt`.  Kernel functions are generators, too, and call each other with ``yield
from``; so the generators' own stack is the call path that lock-order reports show.  What lies between two yields cannot be
interrupted: a window that a kernel has must be a yield in its model.

A *step* runs one thread up to its next yield and does what that says.  Before each step somebody chooses among the threads
that can run: the :class:`Driver`.  The default choice is to go on with the thread that ran last, and, when it cannot, to take
the next one in turn.  A :class:`Schedule` is the list of the other choices, as text: ``5>1 9>0`` runs thread 1 at step 5 and
thread 0 at step 9.  Choices that are impossible fall back to the default, so any list is a schedule, and shrinking is leaving
out.

Drivers: :class:`RandomDriver` chooses anew at each step; :class:`PctDriver` gives threads random priorities and lowers them at
a few random steps, which finds a bug that needs d ordered events with a probability that is bounded from below (Burckhardt and
others, ASPLOS 2010); :func:`explore` takes every schedule with few preemptions, fewest first (Musuvathi and Qadeer, PLDI 2007).

Time.  Every thread has a time of its own, and every CPU the time until which it is taken; a step begins when the thread, a CPU
and the lock that it waits for are ready.  So CPUs run in parallel, although steps are made one after the other, and the clock
shows the latest of all.  Only :class:`Spend` costs time.

What is found: deadlock, lost wakeup, sleeping for ever, a broken invariant, a limit exceeded, a reversal, an exception, and a
run that does not end.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from types import GeneratorType
from typing import Any, Final, Protocol, TypeAlias

import attrs

from coalloc.errors import InvalidRequestError, PanicError, Violation
from coalloc.kernel.lockprof import LockProfile
from coalloc.kernel.locks import GIANT, Lock, LockKind
from coalloc.kernel.witness import Witness
from coalloc.pipes.clock import SimClock

__all__ = [
    "Acquire",
    "Body",
    "Driver",
    "Exploration",
    "Finding",
    "Machine",
    "PctDriver",
    "Preempt",
    "RandomDriver",
    "Release",
    "Run",
    "Schedule",
    "SleepOn",
    "Spend",
    "TryAcquire",
    "WakeUp",
    "explore",
    "search",
]

# --- what threads do ---------------------------------------------------------------------------------------


@attrs.frozen
class Acquire:
    """Take a lock at a place in the source, and wait for it if it is taken."""

    lock: Lock
    file: str = ""
    line: int = 0


@attrs.frozen
class TryAcquire:
    """Take a lock if it is free; the yield returns whether it was."""

    lock: Lock
    file: str = ""
    line: int = 0


@attrs.frozen
class Release:
    """Give a lock back."""

    lock: Lock


@attrs.frozen
class SleepOn:
    """Sleep until somebody wakes those on a channel; a lock is given back as one goes to sleep, and taken again after.

    Giant is dropped by whoever sleeps, and taken again, too.
    """

    channel: Hashable
    lock: Lock | None = None


@attrs.frozen
class WakeUp:
    """Wake all that sleep on a channel, or the one that has slept longest."""

    channel: Hashable
    one: bool = False


@attrs.frozen
class Spend:
    """Let time pass, in nanoseconds."""

    ns: int


@attrs.frozen
class Preempt:
    """A point where another thread may run."""


Op: TypeAlias = Acquire | TryAcquire | Release | SleepOn | WakeUp | Spend | Preempt
Body: TypeAlias = Generator[Op, Any, Any]


@attrs.define(eq=False)
class _Thread:
    number: int
    name: str
    body: Body
    time: int = 0
    cpu: int | None = None
    waits_for: Lock | None = None
    since: int = 0
    asleep_on: Hashable = None
    asleep: bool = False
    turn: int = 0
    """Whose turn it is among those who went to sleep at the same time."""
    done: bool = False
    result: Any = None
    answer: Any = None
    pending: list[Acquire] = attrs.Factory(list)
    """Locks to take before the body goes on, last one first."""


@attrs.define
class _Owned:
    """Who has a lock, how often, and when it was free last."""

    owner: _Thread | None = None
    depth: int = 0
    free_at: int = 0


# --- schedules ---------------------------------------------------------------------------------------------


@attrs.frozen
class Schedule:
    """Choices that differ from the default: at which step, which thread.

    >>> schedule = Schedule.parse("5>1 9>0")
    >>> schedule.switches, str(schedule), str(Schedule())
    (((5, 1), (9, 0)), '5>1 9>0', '-')
    """

    switches: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule.

        Raises:
            InvalidRequestError: If it is none.
        """
        switches = []
        for word in [] if text.strip() == "-" else text.split():
            step, mark, thread = word.partition(">")
            if not (mark and step.isdecimal() and thread.isdecimal() and len(word) < 24):
                raise InvalidRequestError("schedule", word, "must be STEP>THREAD, such as 5>1")
            switches.append((int(step), int(thread)))
        if any(one[0] >= other[0] for one, other in itertools.pairwise(switches)):
            raise InvalidRequestError("schedule", text, "must have its steps in order")
        return cls(tuple(switches))

    def __str__(self) -> str:
        return " ".join(f"{step}>{thread}" for step, thread in self.switches) or "-"


class Driver(Protocol):
    """Chooses who runs."""

    def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
        """Return the number of one of the threads that can run."""
        ...


class _Follow:
    """Choose as a schedule says."""

    def __init__(self, schedule: Schedule) -> None:
        self._switches = dict(schedule.switches)

    def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
        chosen = self._switches.get(step, default)
        return chosen if chosen in runnable else default


class RandomDriver:
    """Choose anew at each step.

    Args:
        seed: Everything follows from it.
        stay: How likely it is that no choice is made, and the default holds; 0 to 1.
    """

    def __init__(self, seed: int, *, stay: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._stay = stay

    def choose(self, _step: int, runnable: tuple[int, ...], default: int) -> int:
        """Choose."""
        if self._stay and self._random.random() < self._stay:
            return default
        return runnable[self._random.randrange(len(runnable))]


class PctDriver:
    """Run whoever has the highest priority; lower that of the one that runs at some random steps.

    Args:
        seed: Everything follows from it.
        changes: How many steps lower a priority: one less than the events whose order matters.
        steps: How long the run is thought to be.
    """

    def __init__(self, seed: int, *, changes: int = 2, steps: int = 100) -> None:
        self._random = random.Random(seed)
        self._priorities: dict[int, float] = {}
        points = sorted(self._random.sample(range(1, max(steps, changes) + 1), changes))
        self._changes = {step: -1.0 - number for number, step in enumerate(points)}
        self._last: int | None = None

    def choose(self, step: int, runnable: tuple[int, ...], _default: int) -> int:
        """Choose."""
        for thread in runnable:
            self._priorities.setdefault(thread, self._random.random())
        if step in self._changes and self._last is not None:
            self._priorities[self._last] = self._changes[step]
        self._last = max(runnable, key=self._priorities.__getitem__)
        return self._last


# --- findings ----------------------------------------------------------------------------------------------

_LIMITS: Final = ("I9", "PI1")


@attrs.frozen
class Finding:
    """What went wrong, in which kind of way."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@attrs.frozen
class _Decision:
    runnable: tuple[int, ...]
    chosen: int
    default: int
    preempts: bool
    """Whether another choice than the default takes the CPU from a thread that could go on."""


@attrs.frozen
class Run:
    """One run: its schedule, which replays it, and what was found.

    Args:
        schedule: The choices that were not the default.
        findings: What went wrong; a run ends with the first.
        steps: How many were made.
        results: What each thread returned, by its name.
    """

    schedule: Schedule
    findings: tuple[Finding, ...]
    steps: int
    results: Mapping[str, Any]
    decisions: tuple[_Decision, ...] = attrs.field(repr=False)


# --- the machine -------------------------------------------------------------------------------------------


class Machine:
    """Run threads.

    Args:
        cpus: How many CPUs there are, >= 1.
        clock: Shows the time; one of its own if None.
        witness: Watches the order of locks.
        profile: Records where locks are taken.
        watch: Is asked after each step for broken invariants.
        reversals: Whether a lock-order report is a finding, and ends the run.
        outermost: The function at which call paths end; those around it are no kernel functions.

    Raises:
        InvalidRequestError: If ``cpus`` is out of range.

    >>> lock = Lock("counter")
    >>> total = [0]
    >>> def add():
    ...     yield Acquire(lock)
    ...     total[0] += 1
    ...     yield Release(lock)
    >>> machine = Machine()
    >>> machine.spawn("a", add()); machine.spawn("b", add())
    >>> machine.run().findings, total
    ((), [2])
    """

    def __init__(
        self,
        *,
        cpus: int = 2,
        clock: SimClock | None = None,
        witness: Witness | None = None,
        profile: LockProfile | None = None,
        watch: Callable[[], Iterable[Violation]] | None = None,
        reversals: bool = False,
        outermost: str = "",
    ) -> None:
        if type(cpus) is not int or cpus < 1:
            raise InvalidRequestError("cpus", cpus, "must be an int >= 1")
        self.clock = SimClock() if clock is None else clock
        self.witness = witness
        self.profile = profile
        self.watch = watch
        self.reversals = reversals
        self.outermost = outermost
        self._threads: list[_Thread] = []
        self._locks: dict[Lock, _Owned] = {}
        self._cpu_times = [self.clock.now] * cpus
        self._current: _Thread | None = None
        self._turns = 0
        self._missed: set[Hashable] = set()
        """Channels on which a wakeup found nobody asleep."""

    @property
    def cpu(self) -> int:
        """The CPU that the running thread is on."""
        return self._current.cpu or 0 if self._current is not None else 0

    @property
    def now(self) -> int:
        """The time of the running thread, in nanoseconds."""
        return self._current.time if self._current is not None else self.clock.now

    def spawn(self, name: str, body: Body) -> None:
        """Add a thread; it may be called from a running one."""
        self._threads.append(_Thread(len(self._threads), name, body, time=self.now))

    def run(self, driver: Driver | Schedule | None = None, *, max_steps: int = 1_000_000, record: bool = True) -> Run:
        """Run all threads until they end, or something is found.

        Args:
            driver: Who chooses; the default choices if None.
            max_steps: A run of more does not end.
            record: Whether the choices are kept; if not, the run has no schedule.
        """
        chooser: Driver = driver if not isinstance(driver, Schedule | None) else _Follow(driver or Schedule())
        decisions: list[_Decision] = []
        found: Finding | None = None
        steps = 0
        while found is None:
            runnable = tuple(thread.number for thread in self._threads if self._can_run(thread))
            if not runnable:
                found = self._stuck()
                break
            if steps >= max_steps:
                found = Finding("does not end", f"more than {max_steps} steps")
                break
            last = self._current.number if self._current is not None else -1
            default = last if last in runnable else next((n for n in runnable if n > last), runnable[0])
            chosen = chooser.choose(steps, runnable, default)
            if record:
                decisions.append(_Decision(runnable, chosen, default, last in runnable))
            steps += 1
            self._current = self._threads[chosen]
            found = self._step(self._current)
        switches = tuple((n, d.chosen) for n, d in enumerate(decisions) if d.chosen != d.default)
        results = {thread.name: thread.result for thread in self._threads if thread.done}
        return Run(Schedule(switches), (found,) if found else (), steps, results, tuple(decisions))

    # --- one step --------------------------------------------------------------------------------------

    def _can_run(self, thread: _Thread) -> bool:
        if thread.done or thread.asleep:
            return False
        return thread.waits_for is None or self._locks[thread.waits_for].owner in (None, thread)

    def _step(self, thread: _Thread) -> Finding | None:
        self._put_on_cpu(thread)
        reports = len(self.witness.reports) if self.witness is not None else 0
        try:
            if thread.pending:
                self._try_pending(thread)
            else:
                answer, thread.answer = thread.answer, None
                self._do(thread, thread.body.send(answer))
        except StopIteration as ended:
            thread.done, thread.result = True, ended.value
            kept = [lock.name for lock, owned in self._locks.items() if owned.owner is thread]
            if kept:
                return Finding("raised", f"{thread.name} ended and still holds {', '.join(kept)}")
        except Exception as error:
            return Finding("raised", f"{thread.name}: {type(error).__name__}: {error}")
        if self.reversals and self.witness is not None and len(self.witness.reports) > reports:
            return Finding("reversal", str(self.witness.reports[-1]))
        for violation in self.watch() if self.watch is not None else ():
            return Finding("limit exceeded" if violation.code in _LIMITS else "broken invariant", str(violation))
        return None

    def _put_on_cpu(self, thread: _Thread) -> None:
        """Let a thread begin on its CPU if that is free by then, or on the one that is free first."""
        first = min(range(len(self._cpu_times)), key=self._cpu_times.__getitem__)
        if thread.cpu is None or self._cpu_times[thread.cpu] > max(thread.time, self._cpu_times[first]):
            thread.cpu = first
        self._pass_time(thread, max(thread.time, self._cpu_times[thread.cpu]))

    def _pass_time(self, thread: _Thread, until: int) -> None:
        thread.time = until
        self._cpu_times[thread.cpu or 0] = until
        if until > self.clock.now:
            self.clock.advance_to(until)

    def _do(self, thread: _Thread, op: Op) -> None:
        match op:
            case Acquire():
                self._check_order(thread, op)
                thread.pending.append(op)
                thread.since = thread.time
                self._try_pending(thread)
            case TryAcquire():
                self._check_order(thread, op)
                thread.answer = self._try(thread, op)
            case Release():
                self._release(thread, op.lock)
            case SleepOn():
                self._sleep(thread, op)
            case WakeUp():
                self._wake_up(thread, op)
            case Spend():
                self._pass_time(thread, thread.time + op.ns)
            case Preempt():
                pass
            case _:
                raise PanicError(f"a thread cannot do {op!r}")

    # --- locks -----------------------------------------------------------------------------------------

    def _check_order(self, thread: _Thread, op: Acquire | TryAcquire) -> None:
        if self.witness is not None:
            self.witness.check_order(
                op.lock,
                op.file,
                op.line,
                thread=thread.number,
                trylock=isinstance(op, TryAcquire),
                path=_path(thread.body, op.lock, self.outermost),
            )

    def _try_pending(self, thread: _Thread) -> None:
        """Take the lock that a thread wants, or let it wait."""
        op = thread.pending[-1]
        if self._try(thread, op):
            thread.pending.pop()
            thread.waits_for = None
            if thread.pending:
                thread.since = thread.time
                thread.waits_for = thread.pending[-1].lock
                self._locks.setdefault(thread.waits_for, _Owned())
        else:
            thread.waits_for = op.lock
            if self.profile is not None:
                self.profile.contested(op.lock, op.file, op.line)

    def _try(self, thread: _Thread, op: Acquire | TryAcquire) -> bool:
        owned = self._locks.setdefault(op.lock, _Owned())
        if owned.owner is thread:
            if not op.lock.recursable:
                raise PanicError(f"{thread.name} takes {op.lock.name}, which it holds")
        elif owned.owner is not None:
            return False
        elif isinstance(op, Acquire) and owned.free_at > thread.time:
            self._pass_time(thread, owned.free_at)  # another CPU had it until then
        owned.owner = thread
        owned.depth += 1
        if self.witness is not None:
            self.witness.take(op.lock, op.file, op.line, thread=thread.number)
        if self.profile is not None:
            waited = thread.time - thread.since if isinstance(op, Acquire) else 0
            self.profile.acquired(op.lock, op.file, op.line, now=thread.time, waited=waited, thread=thread.number)
        return True

    def _release(self, thread: _Thread, lock: Lock) -> None:
        owned = self._locks.get(lock)
        if owned is None or owned.owner is not thread:
            raise PanicError(f"{thread.name} gives back {lock.name}, which it does not hold")
        owned.depth -= 1
        if self.witness is not None:
            self.witness.release(lock, thread=thread.number)
        if self.profile is not None:
            self.profile.released(lock, now=thread.time, thread=thread.number)
        if not owned.depth:
            owned.owner = None
            owned.free_at = thread.time

    # --- sleeping --------------------------------------------------------------------------------------

    def _sleep(self, thread: _Thread, op: SleepOn) -> None:
        kept = [
            lock.name
            for lock, owned in self._locks.items()
            if owned.owner is thread and lock is not op.lock and lock is not GIANT and not lock.kind.sleepable
        ]
        if kept:
            raise PanicError(f"{thread.name} sleeps and holds {', '.join(kept)}")
        for lock in (op.lock, GIANT):
            while lock is not None and (owned := self._locks.get(lock)) is not None and owned.owner is thread:
                self._release(thread, lock)
                thread.pending.append(Acquire(lock, "kern/kern_synch.c", 0))
        self._turns += 1
        thread.asleep, thread.asleep_on, thread.since, thread.turn = True, op.channel, thread.time, self._turns

    def _wake_up(self, thread: _Thread, op: WakeUp) -> None:
        sleepers = [other for other in self._threads if other.asleep and other.asleep_on == op.channel]
        sleepers.sort(key=lambda other: (other.since, other.turn))
        if not sleepers:
            self._missed.add(op.channel)
        for other in sleepers[: 1 if op.one else None]:
            other.asleep = False
            other.time = other.since = max(other.time, thread.time)
            if other.pending:
                other.waits_for = other.pending[-1].lock

    def _stuck(self) -> Finding | None:
        """Say why nobody can run; None where everybody has ended."""
        waiting = [thread for thread in self._threads if thread.waits_for is not None and not thread.asleep]
        if waiting:
            said = []
            for thread in waiting:
                assert thread.waits_for is not None  # it waits
                owner = self._locks[thread.waits_for].owner
                said.append(f"{thread.name} waits for {thread.waits_for.name}, held by {owner.name if owner else '?'}")
            return Finding("deadlock", "; ".join(said))
        asleep = [thread for thread in self._threads if thread.asleep]
        if not asleep:
            return None
        words = ", ".join(f"{thread.name} on {thread.asleep_on}" for thread in asleep)
        if any(thread.asleep_on in self._missed for thread in asleep):
            return Finding("lost wakeup", f"{words}: the wakeup came before anybody slept there")
        return Finding("sleeps for ever", words)


_LOCKING: Final = {LockKind.MUTEX: "_mtx_lock_flags", LockKind.SX: "_sx_xlock"}


def _path(body: object, lock: Lock, outermost: str) -> tuple[str, ...]:
    """Return the names of the functions that a thread is in as it takes a lock, innermost first."""
    names: list[str] = []
    while isinstance(body, GeneratorType):
        names.append(body.gi_code.co_name)
        body = body.gi_yieldfrom
    if outermost in names:
        del names[: names.index(outermost)]
    innermost = ("backtrace", "witness_checkorder", _LOCKING.get(lock.kind, "_lock"))
    return (*innermost, *reversed(names))


# --- looking for findings ----------------------------------------------------------------------------------

MakeMachine: TypeAlias = Callable[[], Machine]
"""Makes a machine with its threads, anew for each run."""


@attrs.frozen
class Exploration:
    """What came of looking at many schedules.

    Args:
        schedules: How many were run.
        complete: Whether that was all that there are within the bound.
        run: The run that found something, its schedule made short; None if none did.
    """

    schedules: int
    complete: bool
    run: Run | None

    @property
    def finding(self) -> Finding | None:
        """What was found."""
        return self.run.findings[0] if self.run is not None else None


def explore(make: MakeMachine, *, preemptions: int = 2, most: int = 10_000) -> Exploration:
    """Run every schedule with at most so many preemptions, fewest first, until something is found.

    Args:
        make: Makes the machine.
        preemptions: How often a thread that could go on is taken off its CPU, >= 0.
        most: At most so many schedules, >= 1.

    Raises:
        InvalidRequestError: If a number is out of range.

    Complexity:
        O((steps * threads) ** preemptions) runs.
    """
    for name, value, least in (("preemptions", preemptions, 0), ("most", most, 1)):
        if type(value) is not int or value < least:
            raise InvalidRequestError(name, value, f"must be an int >= {least}")
    waves: list[deque[tuple[tuple[int, int], ...]]] = [deque() for _ in range(preemptions + 1)]
    waves[0].append(())
    schedules = 0
    for used, wave in enumerate(waves):
        while wave:
            if schedules >= most:
                return Exploration(schedules, complete=False, run=None)
            prefix = wave.popleft()
            run = make().run(Schedule(prefix))
            schedules += 1
            if run.findings:
                return Exploration(schedules, complete=False, run=_shortened(make, run))
            start = prefix[-1][0] + 1 if prefix else 0
            for step in range(start, len(run.decisions)):
                decision = run.decisions[step]
                cost = used + decision.preempts
                if cost <= preemptions:
                    waves[cost].extend(
                        (*prefix, (step, other)) for other in decision.runnable if other != decision.chosen
                    )
    return Exploration(schedules, complete=True, run=None)


def search(make: MakeMachine, drivers: Iterable[Driver]) -> Exploration:
    """Run once with each driver until something is found."""
    schedules = 0
    for driver in drivers:
        run = make().run(driver)
        schedules += 1
        if run.findings:
            return Exploration(schedules, complete=False, run=_shortened(make, run))
    return Exploration(schedules, complete=False, run=None)


def _shortened(make: MakeMachine, run: Run) -> Run:
    """Leave switches out of a run's schedule while the same kind of thing is found."""
    again = True
    while again:
        again = False
        switches = run.schedule.switches
        for number in range(len(switches) - 1, -1, -1):
            shorter = make().run(Schedule(switches[:number] + switches[number + 1 :]))
            if (
                shorter.findings
                and shorter.findings[0].kind == run.findings[0].kind
                and len(shorter.schedule.switches) < len(switches)
            ):
                run, again = shorter, True
                break
    return run
