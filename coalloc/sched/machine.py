"""`Machine`: threads on CPUs, switched only where a schedule says; the same schedule gives the same run.

A *step* runs one thread up to its next yield and does what that operation says (:mod:`coalloc.sched.ops`).  Before each step a
:class:`~coalloc.sched.schedule.Driver` chooses among the threads that can run.  The stack of a thread's generators is the call
path that lock-order reports show.

Time.  Every thread has a time of its own, and every CPU the time until which it is busy; a step begins when the thread, a CPU
and the lock that the thread waits for are ready.  So CPUs run in parallel although steps are made one after the other, and the
clock shows the latest time of all.  Only :class:`~coalloc.sched.ops.Spend` costs time.

Findings: deadlock, lost wakeup, sleeping for ever, a broken invariant, a limit exceeded, a lock-order reversal, an exception,
and a run that does not end (:class:`~coalloc.sched.run.FindingKind`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from types import GeneratorType
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError, PanicError, Violation
from coalloc.sched.clock import SimClock
from coalloc.sched.lockprof import LockProfile
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.ops import Acquire, Body, Op, Preempt, SleepOn, Spend, TryAcquire, Unlock, WakeUp
from coalloc.sched.run import Decision, Finding, FindingKind, Run
from coalloc.sched.schedule import Driver, FollowDriver, Schedule
from coalloc.sched.witness import Witness

__all__ = ["Machine"]

_LIMITS: Final = ("I9", "PI1")
"""The codes of the invariants that are about a limit."""


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
    """The order among threads that fell asleep at the same time."""
    done: bool = False
    result: Any = None
    answer: Any = None
    pending: list[Acquire] = attrs.Factory(list)
    """The locks to take before the body goes on, the last of the list first."""


@attrs.define
class _Owned:
    """Which thread holds a lock, how many times it took it, and when the lock was released last."""

    owner: _Thread | None = None
    depth: int = 0
    free_at: int = 0


class Machine:
    """Run threads on CPUs, in simulated time.

    Args:
        cpus: How many CPUs there are, >= 1.
        clock: The clock to move forward; a new one if None.
        witness: Checks the order in which locks are taken; None checks nothing.
        profile: Records where locks are taken; None records nothing.
        watch: Returns the invariants that are broken; it is called after each step.
        reversals: Whether a lock-order report is a finding, and so ends the run.
        outermost: The function at which the call paths of reports end; the functions around it are not the kernel's.

    Raises:
        InvalidRequestError: If ``cpus`` is out of range.

    >>> lock = Lock("counter")
    >>> total = [0]
    >>> def add():
    ...     yield Acquire(lock)
    ...     total[0] += 1
    ...     yield Unlock(lock)
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
        """Add a thread; a running thread may call this, and the new thread then begins at its time.

        Args:
            name: The thread's name, for findings and results.
            body: What it does.
        """
        self._threads.append(_Thread(len(self._threads), name, body, time=self.now))

    def run(self, driver: Driver | Schedule | None = None, *, max_steps: int = 1_000_000, record: bool = True) -> Run:
        """Run all threads until they have ended or there is a finding.

        Args:
            driver: The driver or schedule that chooses the threads; None takes the default choices.
            max_steps: The most steps that a run may take; one that needs more "does not end".
            record: Whether to keep the choices; if not, the run has no decisions and its schedule is empty.
        """
        chooser: Driver = driver if not isinstance(driver, Schedule | None) else FollowDriver(driver or Schedule())
        decisions: list[Decision] = []
        found: Finding | None = None
        steps = 0
        while found is None:
            runnable = tuple(thread.number for thread in self._threads if self._can_run(thread))
            if not runnable:
                found = self._stuck()
                break
            if steps >= max_steps:
                found = Finding(FindingKind.DOES_NOT_END, f"more than {max_steps} steps")
                break
            last = self._current.number if self._current is not None else -1
            default = last if last in runnable else next((n for n in runnable if n > last), runnable[0])
            chosen = chooser.choose(steps, runnable, default)
            if record:
                decisions.append(Decision(runnable, chosen, default, last in runnable))
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
                return Finding(FindingKind.RAISED, f"{thread.name} ended and still holds {', '.join(kept)}")
        except Exception as error:
            return Finding(FindingKind.RAISED, f"{thread.name}: {type(error).__name__}: {error}")
        if self.reversals and self.witness is not None and len(self.witness.reports) > reports:
            return Finding(FindingKind.REVERSAL, str(self.witness.reports[-1]))
        for violation in self.watch() if self.watch is not None else ():
            limit = violation.code in _LIMITS
            return Finding(FindingKind.LIMIT_EXCEEDED if limit else FindingKind.BROKEN_INVARIANT, str(violation))
        return None

    def _put_on_cpu(self, thread: _Thread) -> None:
        """Let a thread begin on its CPU if that CPU is free by then, or on the CPU that is free first."""
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
            case Unlock():
                self._unlock(thread, op.lock)
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
            self._pass_time(thread, owned.free_at)  # another CPU held the lock until then
        owned.owner = thread
        owned.depth += 1
        if self.witness is not None:
            self.witness.take(op.lock, op.file, op.line, thread=thread.number)
        if self.profile is not None:
            waited = thread.time - thread.since if isinstance(op, Acquire) else 0
            self.profile.acquired(op.lock, op.file, op.line, now=thread.time, waited=waited, thread=thread.number)
        return True

    def _unlock(self, thread: _Thread, lock: Lock) -> None:
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
        held = [lock for lock, owned in self._locks.items() if owned.owner is thread and lock is not op.lock]
        kept = [lock.name for lock in held if not (lock.dropped_by_sleepers or lock.kind.sleepable)]
        if kept:
            raise PanicError(f"{thread.name} sleeps and holds {', '.join(kept)}")
        for lock in (op.lock, *(lock for lock in held if lock.dropped_by_sleepers)):
            while lock is not None and (owned := self._locks.get(lock)) is not None and owned.owner is thread:
                self._unlock(thread, lock)
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
        """Return the finding that says why no thread can run, or None if all threads have ended."""
        waiting = [thread for thread in self._threads if thread.waits_for is not None and not thread.asleep]
        if waiting:
            said = []
            for thread in waiting:
                assert thread.waits_for is not None  # it waits
                owner = self._locks[thread.waits_for].owner
                said.append(f"{thread.name} waits for {thread.waits_for.name}, held by {owner.name if owner else '?'}")
            return Finding(FindingKind.DEADLOCK, "; ".join(said))
        asleep = [thread for thread in self._threads if thread.asleep]
        if not asleep:
            return None
        words = ", ".join(f"{thread.name} on {thread.asleep_on}" for thread in asleep)
        if any(thread.asleep_on in self._missed for thread in asleep):
            return Finding(FindingKind.LOST_WAKEUP, f"{words}: the wakeup came before anybody slept there")
        return Finding(FindingKind.SLEEPS_FOR_EVER, words)


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
