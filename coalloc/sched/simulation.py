"""`Simulation`: threads on up to thousands of CPUs in simulated time, event by event; the same seed gives the same run.

It runs the same generators as :class:`~coalloc.sched.machine.Machine`, so what is measured is what the explorers checked.  The
machine asks which orders are possible; the simulation asks how long the one order takes that costs and seed lead to.

Time.  Every operation happens at an instant, all instants are in order, and what costs time is said by
:class:`~coalloc.sched.hardware.Hardware`: lines that move between CPUs, wakeups, switches, and what threads spend themselves.
How threads wait for a lock is the lock's :class:`~coalloc.sched.locks.Discipline`.

CPUs.  A thread that is woken goes to its last CPU if that is idle, else to the nearest idle one, else to the queue of its last
CPU.  Where the waker is about to sleep the search begins at the waker's CPU instead.  A woken thread takes the CPU from one of
a higher number (a lower priority).  An idle CPU takes from the longest queue.  Spinning occupies a CPU.  Who holds a lock
that never sleeps keeps its CPU.

Each thread is in one state at any time, and the times of the states add up to the run's; Little's law holds of the operations
(:meth:`Measured.violations <coalloc.sched.measured.Measured.violations>`).

SimPy was looked at, and is not used.  Its processes yield events of an environment, which the explorers could not run; its
resources are queues without spinning, barging, hand-over or distance.  One lock that 256 threads take for constant times makes
240,000 yields a second in SimPy 4.1.2, with none of that.

Differences from a kernel: what others' transfers cost a lock's holder is not modelled; a slice ends between two operations; an
interrupt takes no time from the thread that it meets.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from coalloc.errors import InvalidRequestError, PanicError
from coalloc.sched.clock import SimClock
from coalloc.sched.hardware import IDEAL, Hardware
from coalloc.sched.locks import Discipline, Lock, Spin
from coalloc.sched.measured import Book, Measured, ThreadState
from coalloc.sched.ops import (
    Access,
    Acquire,
    Body,
    Finish,
    Line,
    Preempt,
    SleepOn,
    Spend,
    Start,
    TryAcquire,
    Unlock,
    WakeUp,
)
from coalloc.sched.run import Finding, FindingKind
from coalloc.sched.timeline import Timeline

__all__ = ["Simulation"]

_RUN: Final = ThreadState.RUN.value
_SPIN: Final = ThreadState.SPIN.value
_BLOCKED: Final = ThreadState.BLOCKED.value
_ASLEEP: Final = ThreadState.ASLEEP.value
_READY: Final = ThreadState.READY.value
_SWITCH: Final = ThreadState.SWITCH.value
_ENDED: Final = ThreadState.ENDED.value
_ON_CPU: Final = frozenset({_RUN, _SPIN, _SWITCH})
_NEVER: Final = 1 << 62
_MISSED: Final = 1 << 16
"""So many channels at least on which a wakeup found nobody are remembered, the last ones, and at most twice as many."""


class _Thread:
    __slots__ = (
        "answer", "asked", "began", "body", "channel", "cpu", "due", "held", "keeps_cpu", "last_cpu", "name", "number",
        "pending", "pinned", "pins", "priority", "remaining", "result", "since", "slice_end", "state", "token",
        "tries", "waits_at",
    )  # fmt: skip

    def __init__(self, number: int, name: str, body: Body, priority: int, cpu: int | None, now: int) -> None:
        self.number, self.name, self.body, self.priority = number, name, body, priority
        self.pinned = cpu is not None
        self.last_cpu = cpu or 0
        self.cpu: _Cpu | None = None
        self.state = _READY
        self.began = self.since = now
        self.token = self.due = self.remaining = self.tries = self.pins = self.keeps_cpu = 0
        self.asked = -1
        """When it asked for the lock that it waits for; -1 if it has not."""
        self.slice_end = _NEVER
        self.pending: list[Acquire] = []
        self.held: list[_LockState] = []
        self.waits_at: _LockState | None = None
        """The lock at which it spins or sleeps."""
        self.channel: Hashable = None
        self.answer: object = None
        self.result: Any = None


class _Cpu:
    __slots__ = ("number", "queue", "running")

    def __init__(self, number: int) -> None:
        self.number = number
        self.running: _Thread | None = None
        self.queue: deque[_Thread] = deque()


class _LockState:
    __slots__ = (
        "depth", "discipline", "line_cpu", "lock", "owner", "promised", "readers", "sleepers", "spinners", "taken_at", "use",
        "writers",
    )  # fmt: skip

    def __init__(self, lock: Lock, book: Book) -> None:
        self.lock = lock
        self.discipline: Discipline = lock.discipline
        self.use = book.use_of(lock)
        self.owner: _Thread | None = None
        self.depth = 0
        self.readers: dict[_Thread, int] = {}
        """Who holds it shared, and since when."""
        self.spinners: deque[_Thread] = deque()
        self.sleepers: deque[_Thread] = deque()
        self.promised: _Thread | None = None
        """The waiter that gets it at the next release."""
        self.line_cpu = -1
        """The CPU that has the lock's line; -1 for none yet."""
        self.taken_at = 0
        self.writers = 0
        """How many wait to hold it alone, where it can be shared."""

    def admits(self, thread: _Thread, *, shared: bool) -> bool:
        if self.owner is not None or (self.promised is not None and self.promised is not thread):
            return False
        if shared:
            return not self.writers
        if self.readers:
            return False
        return not (self.discipline.in_order and (self.spinners or self.sleepers))

    @property
    def holder_runs(self) -> bool:
        """Whether a holder is on a CPU; not for a lock that is free, but kept for a thread that has not taken it yet."""
        if self.owner is not None:
            return self.owner.state in _ON_CPU
        return any(reader.state in _ON_CPU for reader in self.readers)


class Simulation:
    """Run threads in simulated time.

    Args:
        hardware: CPUs and costs.
        seed: Decides what hardware leaves open: who gets a test-and-set lock, how late a ticket's turn is seen.
        clock: The clock to move forward; a new one if None.
        timeline: Collects what happens, for pictures; None collects nothing.

    >>> lock = Lock("counter")
    >>> def add():
    ...     yield Acquire(lock)
    ...     yield Spend(100)
    ...     yield Unlock(lock)
    >>> simulation = Simulation(Hardware(cpus=2))
    >>> simulation.spawn("a", add()); simulation.spawn("b", add())
    >>> simulation.run().elapsed
    200
    """

    def __init__(
        self,
        hardware: Hardware = IDEAL,
        *,
        seed: int = 0,
        clock: SimClock | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        self.hardware = hardware
        self.clock = SimClock() if clock is None else clock
        self.book = Book(self.clock.now)
        self.timeline = timeline
        self._random = random.Random(seed)
        self._cpus = [_Cpu(number) for number in range(hardware.cpus)]
        self._idle: list[set[int]] = [set() for _ in range(-(-hardware.cpus // hardware.cpus_per_socket))]
        for number in range(hardware.cpus):
            self._idle[number // hardware.cpus_per_socket].add(number)
        self._threads: list[_Thread] = []
        self._states: dict[Lock, _LockState] = {}
        self._cpu_states: dict[tuple[Lock, int], _LockState] = {}
        self._lines: dict[Line, tuple[int, frozenset[int]]] = {}
        """Which CPU wrote to a line last, and which have read it since."""
        self._channels: dict[Hashable, list[_Thread]] = {}
        self._missed: set[Hashable] = set()
        self._missed_before: set[Hashable] = set()
        self._heap: list[tuple[int, int, _Thread, int]] = []
        self._number = 0
        self._queued = 0
        """Threads in the queues of CPUs that may go to another CPU."""
        self._current: _Thread | None = None
        self._found: Finding | None = None
        self._do: dict[type, Callable[[_Thread, Any], int | None]] = {
            Acquire: self._acquire, TryAcquire: self._try_acquire, Unlock: self._unlock, SleepOn: self._sleep,
            WakeUp: self._wake_up, Spend: self._spend, Preempt: self._preempt_self, Access: self._access,
            Start: self._begin, Finish: self._end,
        }  # fmt: skip

    @property
    def cpu(self) -> int:
        """The CPU that the running thread is on."""
        return self._current.last_cpu if self._current is not None else 0

    @property
    def now(self) -> int:
        """The time in nanoseconds."""
        return self.clock.now

    def spawn(self, name: str, body: Body, *, cpu: int | None = None, priority: int = 0) -> None:
        """Add a thread.

        Args:
            name: Its name, for findings and pictures.
            body: What it does.
            cpu: The only CPU that it runs on; None for any.
            priority: A thread of a lower number takes the CPU from one of a higher number when it is woken.

        Raises:
            InvalidRequestError: If there is no such CPU.
        """
        if cpu is not None and not 0 <= cpu < self.hardware.cpus:
            raise InvalidRequestError("cpu", cpu, f"must be one of 0 to {self.hardware.cpus - 1}")
        thread = _Thread(len(self._threads), name, body, priority, cpu, self.clock.now)
        if not thread.pinned:
            thread.last_cpu = thread.number % self.hardware.cpus
        self._threads.append(thread)
        if self.timeline is not None:
            self.timeline.names.append(name)
        self._make_ready(thread, 0, 0)

    def run(self, *, until: int | None = None, operations: int | None = None, warm_up: int = 0) -> Measured:
        """Run until all threads have ended, or for so long, or until so many operations have ended.

        Args:
            until: When to stop, in nanoseconds of the clock; None for never.
            operations: After how many operations to stop; None for never.
            warm_up: What happens before so many operations have ended is not measured.

        Complexity:
            O(log threads) for each step of a thread.
        """
        end = _NEVER if until is None else until
        book, heap, clock = self.book, self._heap, self.clock
        book.stops_at(operations, warm_up)
        while heap and self._found is None:
            time, _, thread, token = heapq.heappop(heap)
            if token != thread.token:
                continue
            if time > end:
                heapq.heappush(heap, (time, self._next(), thread, token))
                break
            clock.now = time
            if book.due:
                if book.finished:
                    heapq.heappush(heap, (time, self._next(), thread, token))
                    break
                self._forget()
            self._go(thread, end)
        if not heap and self._found is None:
            self._found = self._stuck()
        if until is not None and self._found is None and (heap or any(t.state != _ENDED for t in self._threads)):
            clock.now = max(clock.now, end if not book.finished else clock.now)
        for thread in self._threads:
            if thread.state != _ENDED:
                self._set(thread, thread.state)
        if self.timeline is not None:
            self.timeline.close(clock.now)
        lived = sum(max(self._lived_until(thread) - max(thread.began, book.start), 0) for thread in self._threads)
        results = {thread.name: thread.result for thread in self._threads if thread.state == _ENDED}
        return book.measured(clock.now, lived, self._found, results)

    def _lived_until(self, thread: _Thread) -> int:
        return thread.since if thread.state == _ENDED else self.clock.now

    # --- a thread on a CPU -----------------------------------------------------------------------------

    def _go(self, thread: _Thread, end: int) -> None:
        """Let a thread run until it waits, its CPU is taken, or something else happens before it goes on."""
        if thread.state != _RUN:
            self._set(thread, _RUN)
        self._current = thread
        heap, clock, do, book = self._heap, self.clock, self._do, self.book
        send, steps = thread.body.send, 0
        while True:
            steps += 1
            try:
                if thread.pending:
                    delay = self._take(thread, thread.pending[-1])
                else:
                    answer, thread.answer = thread.answer, None
                    op = send(answer)
                    handler = do.get(type(op))
                    if handler is None:
                        raise PanicError(f"a thread cannot do {op!r}")
                    delay = handler(thread, op)
            except StopIteration as ended:
                self._end_thread(thread, ended.value)
                return
            except Exception as error:
                self._found = Finding(FindingKind.RAISED, f"{thread.name}: {type(error).__name__}: {error}")
                return
            if delay is None:
                book.steps += steps
                return
            if thread.state != _RUN:  # whom it woke has taken its CPU
                book.steps += steps
                thread.remaining += delay
                return
            time = clock.now + delay
            if time >= thread.slice_end and thread.cpu is not None and not thread.keeps_cpu:
                if thread.cpu.queue:
                    book.steps += steps
                    self._requeue(thread, delay)
                    return
                thread.slice_end = time + self.hardware.slice
            if (heap and heap[0][0] <= time) or time > end or book.due or steps > _MANY:
                book.steps += steps
                self._at(time, thread)
                return
            clock.now = time

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _at(self, time: int, thread: _Thread) -> None:
        """Let a thread that is on a CPU go on at a time."""
        thread.due = time
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, thread, thread.token))

    def _set(self, thread: _Thread, state: int, detail: str = "") -> None:
        now = self.clock.now
        self.book.times[thread.state] += now - thread.since
        thread.state, thread.since = state, now
        if self.timeline is not None:
            self.timeline.state(now, thread.number, ThreadState(state), thread.last_cpu, detail)

    def _end_thread(self, thread: _Thread, result: object) -> None:
        thread.result = result
        if thread.held:
            names = ", ".join(state.lock.name for state in thread.held)
            self._found = Finding(FindingKind.RAISED, f"{thread.name} ended and still holds {names}")
        self._leave_cpu(thread, _ENDED)

    # --- CPUs ----------------------------------------------------------------------------------------------

    def _leave_cpu(self, thread: _Thread, state: int, detail: str = "") -> None:
        """Take a thread from its CPU, and let that run another."""
        cpu = thread.cpu
        assert cpu is not None  # it ran
        self._set(thread, state, detail)
        thread.token += 1
        thread.cpu = cpu.running = None
        self._let_waiters_sleep(thread)
        self._dispatch(cpu)

    def _stop_spinning(self, spinner: _Thread, held: _LockState) -> None:
        held.spinners.remove(spinner)
        held.sleepers.append(spinner)
        self._leave_cpu(spinner, _BLOCKED, held.lock.name)

    def _dispatch(self, cpu: _Cpu) -> None:
        """Let a CPU run the next thread of its queue, or of the longest one; without any it is idle."""
        thread: _Thread | None = None
        if cpu.queue:
            thread = cpu.queue.popleft()
        elif self._queued:
            fullest = max(self._cpus, key=lambda other: sum(not (each.pinned or each.pins) for each in other.queue))
            thread = next(each for each in fullest.queue if not (each.pinned or each.pins))
            fullest.queue.remove(thread)
        if thread is None:
            self._idle[cpu.number // self.hardware.cpus_per_socket].add(cpu.number)
            return
        if not (thread.pinned or thread.pins):
            self._queued -= 1
        self._switch_to(cpu, thread, self.hardware.switch)

    def _switch_to(self, cpu: _Cpu, thread: _Thread, latency: int) -> None:
        cpu.running, thread.cpu, thread.last_cpu = thread, cpu, cpu.number
        self.book.switches += 1
        self._set(thread, _SWITCH)
        remaining, thread.remaining = thread.remaining, 0
        time = self.clock.now + latency + remaining
        thread.slice_end = time + self.hardware.slice if self.hardware.slice else _NEVER
        self._at(time, thread)

    def _enqueue(self, cpu: _Cpu, thread: _Thread, *, first: bool = False) -> None:
        """Enter a thread into a CPU's queue: behind those of its priority, or before them."""
        self._set(thread, _READY)
        thread.last_cpu = cpu.number
        if not (thread.pinned or thread.pins):
            self._queued += 1
        queue, priority = cpu.queue, thread.priority
        if first or (queue and queue[-1].priority > priority):
            at = 0
            for other in queue:
                if other.priority > priority or (first and other.priority == priority):
                    break
                at += 1
            queue.insert(at, thread)
        else:
            queue.append(thread)

    def _requeue(self, thread: _Thread, remaining: int) -> None:
        """Finish a thread's slice."""
        cpu = thread.cpu
        assert cpu is not None  # it ran
        thread.remaining = remaining
        self.book.preemptions += 1
        thread.token += 1
        thread.cpu = cpu.running = None
        self._enqueue(cpu, thread)
        self._let_waiters_sleep(thread)
        self._dispatch(cpu)

    def _let_waiters_sleep(self, thread: _Thread) -> None:
        """Let those sleep who spin for what a thread holds that is on no CPU any more."""
        for held in thread.held:
            self._end_spinning(held)

    def _end_spinning(self, held: _LockState) -> None:
        if held.spinners and held.discipline.sleeps and not held.holder_runs:
            for spinner in tuple(held.spinners):
                self._stop_spinning(spinner, held)

    def _take_cpu(self, cpu: _Cpu, by: _Thread) -> None:
        """Take a CPU from its thread for a thread of a higher priority."""
        thread = cpu.running
        assert thread is not None  # it runs
        self.book.preemptions += 1
        thread.token += 1
        if thread.state == _SPIN and thread.waits_at is not None:
            thread.waits_at.spinners.remove(thread)
            thread.waits_at = None
            thread.remaining = 0
        else:
            thread.remaining = max(thread.due - self.clock.now, 0)
        thread.cpu = cpu.running = None
        self._enqueue(cpu, thread, first=True)
        self._let_waiters_sleep(thread)
        self._switch_to(cpu, by, self.hardware.switch)

    def _make_ready(self, thread: _Thread, latency: int, near: int, *, sync: bool = False) -> None:
        """Let a thread that waited run again, on the CPU where it ran, or another one."""
        last = self._cpus[thread.last_cpu]
        if thread.pinned or thread.pins or last.running is None:
            cpu = last
        else:
            home = near if sync else last.number
            cpu = self._idle_cpu(home) or self._cpus[home]
        if cpu.running is None:
            self._idle[cpu.number // self.hardware.cpus_per_socket].discard(cpu.number)
            self._switch_to(cpu, thread, latency)
        elif cpu.running.priority > thread.priority and not cpu.running.keeps_cpu:
            self._take_cpu(cpu, thread)
        else:
            self._enqueue(cpu, thread)

    def _idle_cpu(self, near: int) -> _Cpu | None:
        """Return an idle CPU: of the same socket if there is one, the lowest number first."""
        home = near // self.hardware.cpus_per_socket
        if self._idle[home]:
            return self._cpus[min(self._idle[home])]
        for idle in self._idle:
            if idle:
                return self._cpus[min(idle)]
        return None

    # --- what threads do -----------------------------------------------------------------------------------

    def _spend(self, _thread: _Thread, op: Spend) -> int:
        return op.ns

    def _preempt_self(self, _thread: _Thread, _op: Preempt) -> int:
        return 0

    def _begin(self, thread: _Thread, op: Start) -> int:
        self.book.begin(thread.number, op.what, self.clock.now)
        return 0

    def _end(self, thread: _Thread, op: Finish) -> int:
        if not self.book.end(thread.number, op.what, self.clock.now):
            raise PanicError(f"{thread.name} ends {op.what}, which it has not begun")
        return 0

    def _access(self, thread: _Thread, op: Access) -> int:
        cpu = thread.last_cpu
        at, readers = self._lines.get(op.line, (-1, frozenset()))
        if op.write:
            self._lines[op.line] = cpu, frozenset()
            if at == cpu and readers:  # who has a copy loses it
                at = next(iter(readers))
        elif cpu in readers or at == cpu:
            return self.hardware.atomic
        else:
            self._lines[op.line] = at, readers | {cpu}
        return self._transfer(at, cpu)

    def _transfer(self, at: int, cpu: int) -> int:
        if at == cpu or at < 0:
            return self.hardware.atomic
        ns = self.hardware.transfer(at, cpu)
        self.book.transfers += 1
        self.book.transfer_ns += ns
        return ns

    # --- locks ---------------------------------------------------------------------------------------------

    def _state(self, thread: _Thread, lock: Lock) -> _LockState:
        if lock.discipline.per_cpu:
            key = lock, thread.last_cpu
            found = self._cpu_states.get(key)
            if found is None:
                found = self._cpu_states[key] = _LockState(lock, self.book)
            return found
        found = self._states.get(lock)
        if found is None:
            found = self._states[lock] = _LockState(lock, self.book)
        return found

    def _acquire(self, thread: _Thread, op: Acquire) -> int | None:
        thread.pending.append(op)
        thread.asked = self.clock.now
        thread.tries = 0
        return self._take(thread, op)

    def _try_acquire(self, thread: _Thread, op: TryAcquire) -> int:
        state = self._state(thread, op.lock)
        if state.owner is thread and op.lock.recursable:
            state.depth += 1
            thread.answer = True
            return 0
        thread.answer = free = state.admits(thread, shared=False)
        thread.asked = self.clock.now
        if free:
            return self._hold(thread, state, shared=False)
        return self._transfer(state.line_cpu, thread.last_cpu)

    def _take(self, thread: _Thread, op: Acquire) -> int | None:
        """Take a lock and return what that costs, or wait."""
        state = self._state(thread, op.lock)
        shared = op.shared
        if thread.asked < 0:
            thread.asked = self.clock.now
        if state.owner is thread or thread in state.readers:
            if not op.lock.recursable or thread in state.readers:
                raise PanicError(f"{thread.name} takes {op.lock.name}, which it holds")
            state.depth += 1
            thread.pending.pop()
            return 0
        if shared and not state.discipline.shared:
            raise PanicError(f"{thread.name} takes {op.lock.name} shared, which cannot be")
        after = state.discipline.handoff_after
        if after and thread.tries >= after and state.promised is None and thread in state.sleepers:
            state.promised = thread
        kept = state.promised is thread and state.owner is None and (shared or not state.readers)
        if kept or state.admits(thread, shared=shared):
            thread.pending.pop()
            self._leave_queue(thread, state, shared=shared)
            return self._hold(thread, state, shared=shared)
        self._wait(thread, state, shared=shared)
        return None

    def _hold(self, thread: _Thread, state: _LockState, *, shared: bool) -> int:
        """Let a thread hold a lock that is free, and return what it costs to get the lock's line."""
        discipline, cpu, now = state.discipline, thread.last_cpu, self.clock.now
        if shared and discipline.local_readers:
            cost = self.hardware.atomic
        else:
            cost = self._transfer(state.line_cpu, cpu)
            state.line_cpu = cpu
            if discipline.local_readers:
                cost += self.hardware.interrupt
        thread.held.append(state)
        if shared:
            state.readers[thread] = now + cost
        else:
            state.owner, state.depth, state.taken_at = thread, 1, now + cost
        if not discipline.sleeps:
            thread.keeps_cpu += 1
        thread.pins += discipline.per_cpu
        waited = now + cost - thread.asked
        use = state.use
        use.acquisitions += 1
        use.wait_ns += waited
        if waited > use.longest_wait:
            use.longest_wait = waited
        if self.timeline is not None:
            self.timeline.taken(now + cost, thread.number, state.lock.name)
        thread.tries, thread.asked = 0, -1
        return cost

    def _wait(self, thread: _Thread, state: _LockState, *, shared: bool) -> None:
        discipline, again = state.discipline, thread in state.sleepers
        if not thread.tries:
            state.use.contended += 1
            if not shared and discipline.shared:
                state.writers += 1
        thread.tries += 1
        thread.waits_at = state
        if discipline.spin is not None and (not discipline.sleeps or state.holder_runs):
            if again:
                state.sleepers.remove(thread)
                state.spinners.appendleft(thread)
            else:
                state.spinners.append(thread)
            self._set(thread, _SPIN, state.lock.name)
            if not discipline.sleeps:
                thread.keeps_cpu += 1
        else:
            if not again:
                state.sleepers.append(thread)
            self._leave_cpu(thread, _BLOCKED, state.lock.name)

    def _leave_queue(self, thread: _Thread, state: _LockState, *, shared: bool) -> None:
        """Take a thread that gets a lock from those who wait for it."""
        thread.waits_at = None
        if thread.tries:
            if thread in state.sleepers:
                state.sleepers.remove(thread)
            if state.promised is thread:
                state.promised = None
            if not shared and state.discipline.shared:
                state.writers -= 1

    def _unlock(self, thread: _Thread, op: Unlock) -> int:
        state = self._state(thread, op.lock)
        if state.owner is thread:
            if state.depth > 1:
                state.depth -= 1
                return 0
        elif thread not in state.readers:
            raise PanicError(f"{thread.name} gives back {op.lock.name}, which it does not hold")
        return self._release(thread, state)

    def _release(self, thread: _Thread, state: _LockState) -> int:
        discipline, now = state.discipline, self.clock.now
        thread.held.remove(state)
        if self.timeline is not None:
            self.timeline.released(now, thread.number, state.lock.name)
        if not discipline.sleeps:
            thread.keeps_cpu -= 1
        thread.pins -= discipline.per_cpu
        cost = self.hardware.atomic
        if state.owner is thread:
            state.owner, state.depth = None, 0
            state.use.hold_ns += now - state.taken_at
        else:
            state.use.hold_ns += now - state.readers.pop(thread)
            if not discipline.local_readers:
                cost = self._transfer(state.line_cpu, thread.last_cpu)
                state.line_cpu = thread.last_cpu
        if state.readers:
            self._end_spinning(state)  # the readers that are left may have no CPU
        elif state.spinners or state.sleepers:
            cost += self._hand_over(state, thread)
        return cost

    def _hand_over(self, state: _LockState, thread: _Thread) -> int:
        """Give a free lock to one who waits, or wake some; return what that costs the thread that released it."""
        discipline = state.discipline
        heir = state.promised
        if heir is None and discipline.handoff_after == 0 and state.sleepers:
            heir = state.sleepers[0]
        if heir is not None and heir.state == _BLOCKED:
            self._grant(state, heir, 0)
            self._told(thread, heir)
            self._make_ready(heir, self.hardware.wake_latency + self.hardware.switch, thread.last_cpu)
            self._end_spinning(state)  # it may have to wait for its CPU
            self.book.wakeups += 1
            return self.hardware.wakeup
        if heir is not None and heir not in state.spinners:
            return 0  # it was woken, and finds the lock promised to it
        if state.spinners:
            self._grant_spinner(state, heir)
            return 0
        woken = 0
        for sleeper in tuple(state.sleepers) if discipline.wakes_all or discipline.shared else (state.sleepers[0],):
            if sleeper.state == _BLOCKED:
                self._told(thread, sleeper)
                self._make_ready(sleeper, self.hardware.wake_latency + self.hardware.switch, thread.last_cpu)
                woken += 1
        self.book.wakeups += woken
        return woken * self.hardware.wakeup

    def _grant_spinner(self, state: _LockState, heir: _Thread | None) -> None:
        """Give a lock to one of those who spin: to one who wants it alone if there is one, else to all readers."""
        spin, waiting = state.discipline.spin, len(state.spinners)
        if heir is None:
            spinners: Sequence[_Thread] = state.spinners
            if state.discipline.shared:
                spinners = [each for each in spinners if not each.pending[-1].shared] or spinners
            unordered = spin is Spin.TEST_AND_SET and len(spinners) > 1
            heir = spinners[self._random.randrange(len(spinners)) if unordered else 0]
        passes = 1
        if spin is Spin.TICKET:
            passes = self._random.randint(1, waiting)
        elif spin is Spin.TEST_AND_SET:
            passes = 1 + waiting // 2
        first, heirs = heir.pending[-1], [heir]
        if first.shared:
            heirs += [each for each in state.spinners if each is not heir and each.pending[-1].shared]
        for each in heirs:
            state.spinners.remove(each)
            if not state.discipline.sleeps:
                each.keeps_cpu -= 1
            cost = self._grant(state, each, passes)
            self._at(self.clock.now + cost, each)

    def _grant(self, state: _LockState, thread: _Thread, passes: int) -> int:
        """Let a waiter hold a lock, and return the time from now until it does: the line moves ``passes`` times."""
        op = thread.pending.pop()
        self._leave_queue(thread, state, shared=op.shared)
        extra = 0
        if passes > 1:
            extra = (passes - 1) * self.hardware.transfer(state.line_cpu, thread.last_cpu)
            self.book.transfers += passes - 1
            self.book.transfer_ns += extra
        cost = self._hold(thread, state, shared=op.shared) + extra
        if extra:
            state.use.wait_ns += extra
            if not op.shared:
                state.taken_at += extra
        return cost

    # --- sleeping ------------------------------------------------------------------------------------------

    def _sleep(self, thread: _Thread, op: SleepOn) -> None:
        thread.keeps_cpu += 1
        for state in tuple(thread.held):
            lock = state.lock
            if lock is op.lock or lock.dropped_by_sleepers:
                shared, depth = state.owner is not thread, max(state.depth, 1)
                self._release(thread, state)
                thread.pending += [Acquire(lock, "kern/kern_synch.c", 0, shared=shared)] * depth
            elif not lock.kind.sleepable and not lock.discipline.shared:
                raise PanicError(f"{thread.name} sleeps and holds {lock.name}")
        thread.keeps_cpu -= 1
        thread.tries, thread.asked = 0, -1
        if op.priority is not None:
            thread.priority = op.priority
        thread.channel = op.channel
        self._channels.setdefault(op.channel, []).append(thread)
        self._leave_cpu(thread, _ASLEEP, str(op.channel))

    def _wake_up(self, thread: _Thread, op: WakeUp) -> int:
        sleepers = self._channels.get(op.channel)
        if not sleepers:
            self._missed.add(op.channel)
            if len(self._missed) > _MISSED:
                self._missed, self._missed_before = set(), self._missed
            return 0
        if op.one:
            first = min(sleepers, key=lambda each: each.priority)  # the first of those, who slept longest
            sleepers.remove(first)
            woken = [first]
        else:
            woken = sorted(sleepers, key=lambda each: each.priority)
            sleepers.clear()
        if not sleepers:
            del self._channels[op.channel]
        latency = self.hardware.wake_latency + self.hardware.switch
        for number, other in enumerate(woken):
            self._told(thread, other)
            self._make_ready(other, latency + number * self.hardware.wakeup, thread.last_cpu, sync=op.sync)
        self.book.wakeups += len(woken)
        return len(woken) * self.hardware.wakeup

    def _told(self, waker: _Thread, woken: _Thread) -> None:
        if self.timeline is not None:
            self.timeline.woke(self.clock.now, waker.number, woken.number)

    # --- the end -------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Measure from now on."""
        for thread in self._threads:
            if thread.state != _ENDED:
                self._set(thread, thread.state)
        self.book.warmed(self.clock.now)

    def _stuck(self) -> Finding | None:
        blocked = [thread for thread in self._threads if thread.state in (_BLOCKED, _SPIN)]
        if blocked:
            said = []
            for thread in blocked:
                state = thread.waits_at
                assert state is not None  # it waits
                holder = (
                    state.owner.name if state.owner else " and ".join(each.name for each in state.readers) or "nobody"
                )
                said.append(f"{thread.name} waits for {state.lock.name}, held by {holder}")
            return Finding(FindingKind.DEADLOCK, "; ".join(said))
        asleep = [thread for thread in self._threads if thread.state == _ASLEEP]
        if not asleep:
            return None
        words = ", ".join(f"{thread.name} on {thread.channel}" for thread in asleep)
        missed = any(thread.channel in self._missed | self._missed_before for thread in asleep)
        return Finding(FindingKind.LOST_WAKEUP if missed else FindingKind.SLEEPS_FOR_EVER, words)


_MANY: Final = 10_000
"""After so many steps of a thread others get their turn, so that one that takes no time cannot keep the run from its end."""
