"""`Witness`: the lock-order checker, by the rules of 2004, 2006 and 2008; keeps L1 (the learned order is acyclic).

Order is kept between *types* of locks, not between locks.  A thread that takes a lock of type B while it holds one of type A
teaches that A comes before B.  Taking A while holding B is then a *reversal*: not a deadlock yet, but proof that one is
possible.  Some orders are known from the start (:data:`ORDER`).

The checks follow the kernel's witness_checkorder(): first the exemptions (a try, a thread's first lock), then recursion,
duplicates of a type, a known order, and at last every lock that the thread holds, the most recent first.  An acquisition that
was reported teaches no order.

Giant is special.  A thread that sleeps drops it, so it may come before or after a sleepable lock; it comes before all mutexes.
The same holds for every lock that is ``dropped_by_sleepers``.  Sleepable locks come before locks whose holder may not sleep.

Eras differ by data (:class:`WitnessRules`): the header of a report, and what silences a second report.  Spin locks are listed
apart from the others, as in the kernel, where a CPU holds them.

Source: FreeBSD kern/subr_witness.c of April-May 2004 and of early 2006, witness_checkorder() and witness_warn(); the report
in the mail freebsd-current 2004-January/020191; B39 to B45.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs

from coalloc.checked import Checked
from coalloc.errors import InvalidRequestError, PanicError, Violation
from coalloc.sched.locks import Lock, LockKind

__all__ = ["ORDER", "RULES", "Held", "OrderReport", "Witness", "WitnessRules"]

ORDER: Final[tuple[tuple[str, ...], ...]] = (
    (
        "Giant", "filedesc structure", "pipe mutex", "sigio lock", "process group", "process lock", "session",
        "uidinfo hash", "uidinfo struct", "allprison",
    ),
    ("system map", "vm page queue mutex", "vnode interlock", "cdev"),
)  # fmt: skip
"""The orders that FreeBSD's WITNESS knows from the start, as far as they matter here; each type comes before the next."""


@attrs.frozen
class WitnessRules:
    """The differences between the states of WITNESS.

    Args:
        name: Its key in ``RULES``.
        says_why: Whether the header says why an order is wrong, and ends in a colon.
        giant_rule: Whether it is wrong to take Giant while holding a lock that is not sleepable, whatever was learned.
        per_pair: Whether a report silences later reports of its two types, in both directions.  If not, it silences all later
            reports in which the same type is held.
        blessed: Pairs of types that may be taken in either order.
    """

    name: str
    says_why: bool
    giant_rule: bool
    per_pair: bool
    blessed: frozenset[frozenset[str]] = frozenset()


RULES: Final[Mapping[str, WitnessRules]] = {
    rules.name: rules
    for rules in (
        WitnessRules("2004", says_why=False, giant_rule=False, per_pair=False),
        WitnessRules("2006", says_why=True, giant_rule=True, per_pair=False),
        WitnessRules("2008", says_why=True, giant_rule=True, per_pair=True),
    )
}
"""The rules by the year from which they held."""


@attrs.define
class Held:
    """A lock that a thread holds, with the place and the number of its acquisitions."""

    lock: Lock
    file: str
    line: int
    shared: bool = False
    recursed: int = 0

    @property
    def place(self) -> str:
        """The file and line of the acquisition."""
        return f"{self.file}:{self.line}"


@attrs.frozen
class OrderReport:
    """A report of WITNESS.

    Args:
        header: The first line.
        locks: The locks that it names, each with file and line, as printed; the last one was wanted, the others were held.
        path: The calls that led to it, innermost first; empty if they are not known.
    """

    header: str
    locks: tuple[tuple[Lock, str], ...]
    path: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, str]:
        """The type that was held and the type that was wanted."""
        return self.locks[-2][0].type, self.locks[-1][0].type

    def __str__(self) -> str:
        ordinals = ("1st", "2nd", "3rd")
        duplicate = self.header.startswith("acquiring")
        lines = [self.header]
        for ordinal, (lock, place) in zip(ordinals, self.locks, strict=False):
            lines.append(f" {ordinal} {lock.name if duplicate else lock} @ {place}")
        if self.path:
            lines += ["Stack backtrace:", *self.path]
        return "\n".join(lines)


class Witness(Checked):
    """Watch the order in which threads take locks, and report orders that may deadlock.

    Args:
        rules: The rules of one of the years in :data:`RULES`.
        order: The orders known from the start.
        trace: Whether reports end with the calls that led to them (debug.witness.trace).
        on_report: Called with each report as it is made.

    Raises:
        InvalidRequestError: If the orders contradict each other.

    Complexity:
        A check takes O(held * (types + edges)) steps, and O(1) if the thread holds no lock.

    >>> from coalloc.sched.locks import Lock
    >>> witness, a, b = Witness(), Lock("a", address=16), Lock("b", address=32)
    >>> with witness.held(a, "x.c", 1), witness.held(b, "x.c", 2):
    ...     pass
    >>> with witness.held(b, "y.c", 3), witness.held(a, "y.c", 4):
    ...     print(witness.reports[0])
    lock order reversal
     1st 0x20 b (b) @ y.c:3
     2nd 0x10 a (a) @ y.c:4
    """

    def __init__(
        self,
        rules: WitnessRules = RULES["2004"],
        *,
        order: Iterable[Iterable[str]] = ORDER,
        trace: bool = True,
        on_report: Callable[[OrderReport], None] | None = None,
    ) -> None:
        self.rules = rules
        self.on_report = on_report
        self.trace = trace
        self.reports: list[OrderReport] = []
        self._children: dict[str, list[str]] = {}
        self._kinds: dict[str, LockKind] = {}
        self._held: dict[tuple[Hashable, bool], list[Held]] = {}
        self._paths: dict[Hashable, list[str]] = {}
        self._told: set[object] = set()
        self._duplicates: set[str] = set()
        for types in order:
            for before, behind in itertools.pairwise(types):
                self._learn(before, behind)
        found = self.violations()
        if found:
            raise InvalidRequestError("order", order, found[0].message)

    # --- what threads do ---------------------------------------------------------------------------

    @contextmanager
    def held(
        self, lock: Lock, file: str, line: int, *, thread: Hashable = None, shared: bool = False
    ) -> Iterator[OrderReport | None]:
        """Hold a lock during the block; the context yields the report that the acquisition caused, or None."""
        report = self.check_order(lock, file, line, thread=thread, shared=shared)
        self.take(lock, file, line, thread=thread, shared=shared)
        try:
            yield report
        finally:
            self.release(lock, thread=thread)

    @contextmanager
    def calling(self, name: str, *, thread: Hashable = None) -> Iterator[None]:
        """Be inside a call during the block, so that reports name the call."""
        path = self._paths.setdefault(thread, [])
        path.append(name)
        try:
            yield
        finally:
            path.pop()

    def check_order(
        self,
        lock: Lock,
        file: str,
        line: int,
        *,
        thread: Hashable = None,
        shared: bool = False,
        trylock: bool = False,
        dupok: bool = False,
        path: Iterable[str] = (),
    ) -> OrderReport | None:
        """Check an acquisition before it is made, and return the report that it causes, or None.

        Args:
            lock: The lock that is wanted.
            file: The source file of the acquisition, as compilers name it.
            line: The line in that file.
            thread: The thread that wants the lock.
            shared: Whether the lock is wanted shared.
            trylock: Whether this is a try, which never waits and is not checked.
            dupok: Whether this call may take a second lock of its type (LOP_DUPOK).
            path: The calls that lead here, innermost first; if empty, those of :meth:`calling`.

        Raises:
            PanicError: For a lock whose type has another kind, a lock that the thread already holds in another way, or a lock
                whose waiters block while a spin lock is held.

        Source: B39, B42 to B45.
        """
        if self._kinds.setdefault(lock.type, lock.kind) is not lock.kind:
            raise PanicError(f"lock ({lock.type}) {lock.name}: its type is of the kind {self._kinds[lock.type].value}")
        file = _plain(file)
        spin = lock.kind is LockKind.SPIN
        if not spin and self._held.get((thread, True)):
            raise PanicError(f"blockable sleep lock ({lock.kind.value}) {lock.name} @ {file}:{line}")
        held = self._held.get((thread, spin), [])
        mine = next((item for item in held if item.lock is lock), None)
        if mine is not None and not trylock:
            self._check_recursion(mine, file, line, shared=shared)
            return None
        if not held or trylock:
            return None
        latest = held[-1]
        if latest.lock.type == lock.type:
            if lock.type in self._duplicates or lock.dupok or dupok:
                return None
            self._duplicates.add(lock.type)
            header = f'acquiring duplicate lock of same type: "{lock.type}"'
            return self._report(header, [(latest.lock, latest.place), (lock, f"{file}:{line}")], thread, path)
        if lock.type in self._children.get(latest.lock.type, ()):
            return None
        for number in range(len(held) - 1, -1, -1):
            item = held[number]
            reason = self._wrong(item.lock, lock)
            if reason is None:
                continue
            if frozenset((item.lock.type, lock.type)) in self.rules.blessed or self._tell_twice(item.lock, lock):
                return None
            named = [(item.lock, item.place), (lock, f"{file}:{line}")]
            earlier = next((other for other in held[number::-1] if other.lock.type == lock.type), None)
            if earlier is not None:
                named.insert(0, (earlier.lock, earlier.place))
            return self._report(self._header(reason), named, thread, path)
        if not (latest.lock.dropped_by_sleepers and lock.kind.sleepable):
            self._learn(latest.lock.type, lock.type)
        return None

    def take(self, lock: Lock, file: str, line: int, *, thread: Hashable = None, shared: bool = False) -> None:
        """Record that a thread has acquired a lock."""
        held = self._held.setdefault((thread, lock.kind is LockKind.SPIN), [])
        mine = next((item for item in held if item.lock is lock), None)
        if mine is not None:
            mine.recursed += 1
        else:
            held.append(Held(lock, _plain(file), line, shared))

    def release(self, lock: Lock, *, thread: Hashable = None) -> None:
        """Record that a thread releases a lock.

        Raises:
            PanicError: If the thread does not hold the lock.
        """
        held = self._held.get((thread, lock.kind is LockKind.SPIN), [])
        for number in range(len(held) - 1, -1, -1):
            if held[number].lock is lock:
                if held[number].recursed:
                    held[number].recursed -= 1
                else:
                    del held[number]
                return
        raise PanicError(f"lock ({lock.kind.value}) {lock.name} is released and was not held")

    # --- what can be asked ---------------------------------------------------------------------------

    def locks_held(self, thread: Hashable = None) -> tuple[Held, ...]:
        """Return the locks that a thread holds, in the order in which it took them, spin locks last."""
        return tuple(item for spin in (False, True) for item in self._held.get((thread, spin), []))

    def warn(self, message: str, *, thread: Hashable = None, sleeping: bool = False) -> str:
        """Return the listing of held locks (witness_warn), or an empty text if there are none.

        Args:
            message: The text that begins the listing and says what is about to happen.
            thread: The thread whose locks are listed.
            sleeping: Whether to list only the locks that may not be held in sleep; Giant is dropped in sleep.
        """
        items = [
            item
            for item in self.locks_held(thread)
            if not sleeping or not (item.lock.kind.sleepable or item.lock.dropped_by_sleepers)
        ]
        if not items:
            return ""
        lines = [f"{message} with the following{' non-sleepable' * sleeping} locks held:"]
        for item in items:
            lock = item.lock
            how = "shared" if item.shared else "exclusive"
            kind = f" ({lock.type})" if lock.type != lock.name else ""
            where = f"r = {item.recursed} ({lock.address:#x}) locked @ {item.place}"
            lines.append(f"{how} {lock.kind.value} {lock.name}{kind} {where}")
        return "\n".join(lines)

    def order(self) -> dict[str, tuple[str, ...]]:
        """Return for each type, sorted, the types that are known to come directly behind it."""
        return {before: tuple(sorted(behind)) for before, behind in sorted(self._children.items())}

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of L1: each type that comes behind itself."""
        return tuple(
            Violation("L1", f"{name!r} comes behind itself")
            for name in sorted(self._children)
            if self._leads(name, name)
        )

    def dump(self) -> str:
        """Return the learned order as text, for an error."""
        return "\n".join(f"{a} -> {', '.join(b)}" for a, b in self.order().items())

    # --- inside ----------------------------------------------------------------------------------------

    def _check_recursion(self, mine: Held, file: str, line: int, *, shared: bool) -> None:
        if mine.shared is not shared:
            now, then = ("shared", "exclusively") if shared else ("exclusive", "share")
            lock = mine.lock
            raise PanicError(
                f"{now} lock of ({lock.kind.value}) {lock.name} @ {file}:{line}\nwhile {then} locked from {mine.place}"
            )
        if not mine.lock.recursable and not shared:
            raise PanicError(
                f"recursed on non-recursive lock ({mine.lock.kind.value}) {mine.lock.name} @ {file}:{line}\n"
                f"first acquired @ {mine.place}"
            )

    def _wrong(self, held: Lock, wanted: Lock) -> str | None:
        """Return why one lock may not be taken under another, or None."""
        if (held.kind.sleepable and wanted.dropped_by_sleepers) or (wanted.kind.sleepable and held.dropped_by_sleepers):
            return None
        if wanted.kind.sleepable and not held.kind.sleepable:
            return "sleepable after non-sleepable"
        if wanted.dropped_by_sleepers and self.rules.giant_rule:
            return f"{wanted.name} after non-sleepable"
        return "" if self._leads(wanted.type, held.type) else None

    def _header(self, reason: str) -> str:
        if not self.rules.says_why:
            return "lock order reversal"
        return f"lock order reversal: ({reason})" if reason else "lock order reversal:"

    def _tell_twice(self, held: Lock, wanted: Lock) -> bool:
        """Tell whether such a report was made already, and remember it if it was not."""
        key: object = frozenset((held.type, wanted.type)) if self.rules.per_pair else held.type
        if key in self._told:
            return True
        self._told.add(key)
        return False

    def _report(self, header: str, locks: list[tuple[Lock, str]], thread: Hashable, path: Iterable[str]) -> OrderReport:
        calls = tuple(path) or tuple(reversed(self._paths.get(thread, [])))
        report = OrderReport(header, tuple(locks), calls if self.trace else ())
        self.reports.append(report)
        if self.on_report is not None:
            self.on_report(report)
        return report

    def _learn(self, before: str, behind: str) -> None:
        children = self._children.setdefault(before, [])
        if behind not in children:
            children.append(behind)

    def _leads(self, start: str, goal: str) -> bool:
        """Tell whether a type comes before another one, directly or through other types."""
        seen: set[str] = set()
        stack = [start]
        while stack:
            for child in self._children.get(stack.pop(), ()):
                if child == goal:
                    return True
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        return False


def _plain(file: str) -> str:
    """Return a file's name without the leading ``../`` that compilers put in front of it."""
    while file.startswith("../"):
        file = file[3:]
    return file
