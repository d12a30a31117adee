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

import enum
from collections.abc import Callable, Hashable, Iterable
from types import GeneratorType
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError, PanicError, Violation
from coalloc.sched.clock import SimClock
from coalloc.sched.lockprof import LockProfile
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.measured import ThreadState
from coalloc.sched.ops import (
    Access,
    Acquire,
    Body,
    Finish,
    Op,
    Preempt,
    SleepOn,
    Spend,
    Start,
    TryAcquire,
    Unlock,
    WakeUp,
)
from coalloc.sched.run import Decision, Finding, FindingKind, Run
from coalloc.sched.schedule import Driver, FollowDriver, Schedule
from coalloc.sched.timeline import Timeline
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
    priority: int = 0
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
    pins: int = 0
    """How many locks of its CPU it holds."""
    place: Hashable = None
    """Where it is in its functions, since its last step; None if that is not known."""


@attrs.define
class _Owned:
    """Who holds a lock, how many times, who waits for it where that matters, and when it was released last."""

    owner: _Thread | None = None
    depth: int = 0
    readers: list[_Thread] = attrs.Factory(list)
    queue: list[_Thread] = attrs.Factory(list)
    """Who waits, where the lock is given in the order of arrival."""
    free_at: int = 0

    def admits(self, thread: _Thread, *, shared: bool) -> bool:
        """Tell whether a thread can take the lock now."""
        if self.owner is thread:
            return True
        if self.owner is not None or (self.readers and not shared):
            return False
        return not self.queue or self.queue[0] is thread


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
        snapshot: Returns what threads share, as a hashable value without counters and times, for :meth:`state`.
        timeline: Collects what happens, for pictures; None collects nothing.
        step_ns: How long a step takes in the timeline; 0 shows simulated time, in which steps that spend nothing take none.

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
        snapshot: Callable[[], Hashable] | None = None,
        timeline: Timeline | None = None,
        step_ns: int = 0,
    ) -> None:
        if type(cpus) is not int or cpus < 1:
            raise InvalidRequestError("cpus", cpus, "must be an int >= 1")
        self.clock = SimClock() if clock is None else clock
        self.witness = witness
        self.profile = profile
        self.watch = watch
        self.reversals = reversals
        self.outermost = outermost
        self.snapshot = snapshot
        self.timeline = timeline
        self.step_ns = step_ns
        self._steps = 0
        self.progress: tuple[int, ...] = ()
        """The threads that got on in the last step: those that ended an operation, or altogether."""
        self._did: Op | None = None
        self._threads: list[_Thread] = []
        self._locks: dict[tuple[Lock, int], _Owned] = {}
        """By lock, and by CPU for those that each CPU has; 0 for others."""
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

    def spawn(self, name: str, body: Body, *, priority: int = 0) -> None:
        """Add a thread; a running thread may call this, and the new thread then begins at its time.

        Args:
            name: The thread's name, for findings and results.
            body: What it does.
            priority: A wakeup of one thread wakes that of the lowest number; only this is what a machine knows of priorities.
        """
        self._threads.append(_Thread(len(self._threads), name, body, time=self.now, priority=priority))
        if self.timeline is not None and self._current is not None:
            self.timeline.names.append(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The threads' names, by their numbers."""
        return tuple(thread.name for thread in self._threads)

    def state(self) -> Hashable:
        """Return where each thread is, what it holds and waits for, and what they share, without times and counters.

        Two equal states go on alike under the same choices, if ``snapshot`` tells all that threads share and change, and locks
        have names of their own.  Of the variables of a thread's functions those count that are numbers, text, and tuples of
        such.

        Complexity:
            O(threads * variables).
        """
        threads = []
        for thread in self._threads:
            place = None
            if thread.asleep:  # in the queue of its channel
                place = str(thread.asleep_on), self._sleepers(thread.asleep_on).index(thread)
            waits_for = None if thread.waits_for is None else thread.waits_for.name
            pending = tuple((op.lock.name, op.shared) for op in thread.pending)
            if thread.place is None:
                thread.place = () if thread.done else _place(thread.body)
            threads.append((thread.done, place, waits_for, pending, _answer(thread.answer), thread.place))
        locks = tuple(
            (
                lock.name,
                cpu,
                -1 if owned.owner is None else owned.owner.number,
                owned.depth,
                tuple(sorted(reader.number for reader in owned.readers)),
                tuple(waiter.number for waiter in owned.queue),
            )
            for (lock, cpu), owned in sorted(self._locks.items(), key=lambda item: (item[0][0].name, item[0][1]))
            if owned.owner is not None or owned.readers or owned.queue
        )
        return tuple(threads), locks, self.snapshot() if self.snapshot is not None else None

    def _sleepers(self, channel: Hashable) -> list[_Thread]:
        """Return who sleeps on a channel, in the order in which they are woken."""
        found = [thread for thread in self._threads if thread.asleep and thread.asleep_on == channel]
        return sorted(found, key=lambda thread: (thread.priority, thread.since, thread.turn))

    @property
    def did(self) -> str:
        """What the last step was, in words."""
        thread, op = self._current, self._did
        match op:
            case Acquire() | TryAcquire() if thread is not None and thread.waits_for is op.lock:
                return f"waits for {op.lock.name}"
            case Acquire() | TryAcquire():
                return f"takes {op.lock.name}"
            case Unlock():
                return f"releases {op.lock.name}"
            case SleepOn():
                return f"sleeps on {op.channel}" + (f", and releases {op.lock.name}" if op.lock is not None else "")
            case WakeUp():
                return f"wakes {'one' if op.one else 'all'} on {op.channel}"
            case None:
                return "ends"
        return "runs"

    def alive(self, number: int) -> bool:
        """Tell whether a thread has not ended."""
        return not self._threads[number].done

    def waits(self, number: int) -> str:
        """Return the name of the lock that a thread waits for, or the channel that it sleeps on; empty if neither."""
        thread = self._threads[number]
        if thread.asleep:
            return str(thread.asleep_on)
        return "" if thread.waits_for is None else thread.waits_for.name

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
        self._begin_timeline()
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
            self._steps += 1
        if self.timeline is not None:
            self.timeline.close(self._steps * self.step_ns or self.clock.now)
        switches = tuple((n, d.chosen) for n, d in enumerate(decisions) if d.chosen != d.default)
        results = {thread.name: thread.result for thread in self._threads if thread.done}
        return Run(Schedule(switches), (found,) if found else (), steps, results, tuple(decisions))

    # --- one step --------------------------------------------------------------------------------------

    def _can_run(self, thread: _Thread) -> bool:
        if thread.done or thread.asleep:
            return False
        if thread.waits_for is None:
            return True
        return self._owned(thread, thread.waits_for).admits(thread, shared=thread.pending[-1].shared)

    def _owned(self, thread: _Thread, lock: Lock) -> _Owned:
        key = lock, (thread.cpu or 0) if lock.discipline.per_cpu else 0
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = _Owned()
        return found

    def _step(self, thread: _Thread) -> Finding | None:
        self._put_on_cpu(thread)
        start = self._at(thread)
        found = self._make_step(thread)
        if self.timeline is not None:
            self.timeline.state(start, thread.number, ThreadState.RUN, thread.cpu or 0, self.did)
            self._show(thread, self._at(thread, ends=True))
        return found

    def _make_step(self, thread: _Thread) -> Finding | None:
        self.progress = ()
        self._did = thread.pending[-1] if thread.pending else None
        thread.place = None
        reports = len(self.witness.reports) if self.witness is not None else 0
        try:
            if thread.pending:
                self._try_pending(thread)
            else:
                answer, thread.answer = thread.answer, None
                op = thread.body.send(answer)
                while isinstance(op, Access | Start | Finish):
                    if isinstance(op, Finish):
                        self.progress = (thread.number,)
                    op = thread.body.send(None)
                self._did = op
                self._do(thread, op)
        except StopIteration as ended:
            thread.done, thread.result = True, ended.value
            self.progress = (thread.number,)
            kept = self._kept(thread)
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

    # --- the timeline ------------------------------------------------------------------------------------

    def _begin_timeline(self) -> None:
        timeline = self.timeline
        if timeline is not None:
            timeline.names[:] = self.names
            for thread in self._threads:
                self._show(thread, self._steps * self.step_ns or thread.time)

    def _at(self, thread: _Thread, *, ends: bool = False) -> int:
        """Return the time of a step in the timeline: when it begins, or ends."""
        return (self._steps + ends) * self.step_ns if self.step_ns else thread.time

    def _show(self, thread: _Thread, time: int) -> None:
        """Show what a thread does from now on, which is not to run."""
        assert self.timeline is not None  # the callers look
        state, detail = ThreadState.READY, ""
        if thread.done:
            state = ThreadState.ENDED
        elif thread.asleep:
            state, detail = ThreadState.ASLEEP, str(thread.asleep_on)
        elif thread.waits_for is not None:
            state, detail = ThreadState.BLOCKED, thread.waits_for.name
        self.timeline.state(time, thread.number, state, thread.cpu or 0, detail)

    def _kept(self, thread: _Thread) -> list[str]:
        return [
            lock.name for (lock, _), owned in self._locks.items() if owned.owner is thread or thread in owned.readers
        ]

    def _put_on_cpu(self, thread: _Thread) -> None:
        """Let a thread begin on its CPU if that CPU is free by then or it is pinned, or on the CPU that is free first."""
        first = min(range(len(self._cpu_times)), key=self._cpu_times.__getitem__)
        if thread.cpu is None or (
            not thread.pins and self._cpu_times[thread.cpu] > max(thread.time, self._cpu_times[first])
        ):
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
        else:
            thread.waits_for = op.lock
            owned = self._owned(thread, op.lock)
            if op.lock.discipline.in_order and thread not in owned.queue:
                owned.queue.append(thread)
            if self.profile is not None:
                self.profile.contested(op.lock, op.file, op.line)

    def _try(self, thread: _Thread, op: Acquire | TryAcquire) -> bool:
        owned, shared = self._owned(thread, op.lock), isinstance(op, Acquire) and op.shared
        if shared and not op.lock.discipline.shared:
            raise PanicError(f"{thread.name} takes {op.lock.name} shared, which cannot be")
        if (owned.owner is thread or thread in owned.readers) and not op.lock.recursable:
            raise PanicError(f"{thread.name} takes {op.lock.name}, which it holds")
        if not owned.admits(thread, shared=shared):
            return False
        if owned.owner is None and isinstance(op, Acquire) and owned.free_at > thread.time:
            self._pass_time(thread, owned.free_at)  # another CPU held the lock until then
        if thread in owned.queue:
            owned.queue.remove(thread)
        if shared and owned.owner is None:
            owned.readers.append(thread)
        else:
            owned.owner = thread
            owned.depth += 1
        thread.pins += op.lock.discipline.per_cpu
        if self.timeline is not None:
            self.timeline.taken(self._at(thread), thread.number, op.lock.name)
        if self.witness is not None:
            self.witness.take(op.lock, op.file, op.line, thread=thread.number)
        if self.profile is not None:
            waited = thread.time - thread.since if isinstance(op, Acquire) else 0
            self.profile.acquired(op.lock, op.file, op.line, now=thread.time, waited=waited, thread=thread.number)
        return True

    def _unlock(self, thread: _Thread, lock: Lock) -> None:
        owned = self._owned(thread, lock)
        if owned.owner is thread:
            owned.depth -= 1
        elif thread in owned.readers:
            owned.readers.remove(thread)
        else:
            raise PanicError(f"{thread.name} gives back {lock.name}, which it does not hold")
        thread.pins -= lock.discipline.per_cpu
        if self.timeline is not None:
            self.timeline.released(self._at(thread, ends=True), thread.number, lock.name)
        if self.witness is not None:
            self.witness.release(lock, thread=thread.number)
        if self.profile is not None:
            self.profile.released(lock, now=thread.time, thread=thread.number)
        if not owned.depth:
            owned.owner = None
            owned.free_at = thread.time

    # --- sleeping --------------------------------------------------------------------------------------

    def _sleep(self, thread: _Thread, op: SleepOn) -> None:
        held = [lock for (lock, _), owned in self._locks.items() if owned.owner is thread and lock is not op.lock]
        kept = [lock.name for lock in held if not (lock.dropped_by_sleepers or lock.kind.sleepable)]
        if kept:
            raise PanicError(f"{thread.name} sleeps and holds {', '.join(kept)}")
        for lock in (op.lock, *(lock for lock in held if lock.dropped_by_sleepers)):
            while lock is not None and (
                (owned := self._owned(thread, lock)).owner is thread or thread in owned.readers
            ):
                shared = owned.owner is not thread
                self._unlock(thread, lock)
                thread.pending.append(Acquire(lock, "kern/kern_synch.c", 0, shared=shared))
        self._turns += 1
        thread.asleep, thread.asleep_on, thread.since, thread.turn = True, op.channel, thread.time, self._turns

    def _wake_up(self, thread: _Thread, op: WakeUp) -> None:
        sleepers = self._sleepers(op.channel)
        if not sleepers:
            self._missed.add(op.channel)
        for other in sleepers[: 1 if op.one else None]:
            other.asleep = False
            other.time = other.since = max(other.time, thread.time)
            if other.pending:
                other.waits_for = other.pending[-1].lock
            if self.timeline is not None:
                self.timeline.woke(self._at(thread), thread.number, other.number)
                self._show(other, self._at(thread, ends=True) if self.step_ns else other.time)

    def _stuck(self) -> Finding | None:
        """Return the finding that says why no thread can run, or None if all threads have ended."""
        waiting = [thread for thread in self._threads if thread.waits_for is not None and not thread.asleep]
        if waiting:
            said = []
            for thread in waiting:
                assert thread.waits_for is not None  # it waits
                owned = self._owned(thread, thread.waits_for)
                holders = [owned.owner] if owned.owner else owned.readers or owned.queue[:1]
                names = " and ".join(holder.name for holder in holders)
                said.append(f"{thread.name} waits for {thread.waits_for.name}, held by {names}")
            return Finding(FindingKind.DEADLOCK, "; ".join(said))
        asleep = [thread for thread in self._threads if thread.asleep]
        if not asleep:
            return None
        words = ", ".join(f"{thread.name} on {thread.asleep_on}" for thread in asleep)
        if any(thread.asleep_on in self._missed for thread in asleep):
            return Finding(FindingKind.LOST_WAKEUP, f"{words}: the wakeup came before anybody slept there")
        return Finding(FindingKind.SLEEPS_FOR_EVER, words)


_LOCKING: Final = {LockKind.MUTEX: "_mtx_lock_flags", LockKind.SX: "_sx_xlock"}


def _answer(value: object) -> Hashable:
    return value if isinstance(value, int | str | None) else id(value)


def _place(body: object) -> Hashable:
    """Return where a generator is, and the generators that it waits for: code, instruction and simple variables."""
    place = []
    while isinstance(body, GeneratorType):
        frame: Any = body.gi_frame  # it has one, since it has not ended
        simple = tuple((name, value) for name, value in sorted(frame.f_locals.items()) if _is_simple(value))
        place.append((body.gi_code.co_qualname, frame.f_lasti, simple))
        body = body.gi_yieldfrom
    return tuple(place)


def _is_simple(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_simple, value))
    return value is None or isinstance(value, int | str | bytes | enum.Enum)


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
