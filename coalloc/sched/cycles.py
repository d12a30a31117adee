"""`find_cycles` and `search_cycles`: livelock and starvation, as fair cycles of the states that threads go through.

A run that does not end is not yet a finding: it may only be long, or its schedule may never let a thread run that could.  A
*cycle* leads from a state back to the same one, so it can be gone round for ever.  It is a

* *livelock* if no thread gets on in it; or a
* *starvation* if others get on in it and one thread does not,

though each thread that can run everywhere on it does run on it (weak fairness): a scheduler that never leaves out who can
always run may go round for ever.  If each thread that can run *somewhere* on it runs (strong fairness), no scheduler that lets
everybody run ends it.

A thread gets on when it ends an operation (:class:`~coalloc.sched.ops.Finish`), or altogether.  A deadlock is no cycle: nobody
can run.  A lost wakeup is none either: nobody is awake.  States are told apart by
:meth:`Machine.state <coalloc.sched.machine.Machine.state>`.  A cycle that is found is gone round twice more on a new machine
before it is reported.

:func:`find_cycles` visits every state, so it also says how often a thread that waits for a lock can be passed by others
(bounded bypass).  :func:`search_cycles` looks along the runs of given drivers.

Source: Musuvathi and Qadeer, Fair Stateless Model Checking, PLDI 2008; of the decomposition: Tarjan, SIAM J. Computing 1972.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.sched.explore import MakeMachine, SearchResult
from coalloc.sched.machine import Machine
from coalloc.sched.run import Finding, FindingKind, Run
from coalloc.sched.schedule import Driver, Schedule

__all__ = ["Cycle", "CycleSearch", "Turn", "find_cycles", "search_cycles"]


@attrs.frozen
class Turn:
    """A step of a cycle: who made it, and what it was, in words."""

    thread: str
    what: str

    def __str__(self) -> str:
        return f"{self.thread} {self.what}"


@attrs.frozen
class Cycle:
    """A livelock, or a starvation.

    Args:
        kind: Which.
        threads: The threads that go round.
        stuck: The other threads that have not ended, each with what it waits for; of a starvation, first who starves.
        schedule: The choices that lead into the cycle, and once round.
        prefix: How many steps lead into it; the fewest, where all states were visited.
        turns: The steps of the cycle.
        strong: Whether it is strongly fair.
    """

    kind: FindingKind
    threads: tuple[str, ...]
    stuck: tuple[tuple[str, str], ...]
    schedule: tuple[int, ...] = attrs.field(repr=False)
    prefix: int
    turns: tuple[Turn, ...]
    strong: bool

    @property
    def finding(self) -> Finding:
        """The cycle as a finding of a run."""
        words = f"{', '.join(self.threads)} go round in {len(self.turns)} steps after {self.prefix}"
        waiting = "; ".join(f"{name} waits for {what}" if what else f"{name} can run" for name, what in self.stuck)
        return Finding(self.kind, f"{words}{'; ' if waiting else ''}{waiting}")

    def __str__(self) -> str:
        return "\n".join([str(self.finding), *(f"  {turn}" for turn in self.turns)])


@attrs.frozen
class CycleSearch(SearchResult):
    """The result of looking for cycles.

    Of :func:`find_cycles` the number of schedules is that of the states that were visited, and ``complete`` says whether these
    were all states.  The run of a cycle leads into it, and once round.

    Args:
        cycle: The livelock or starvation; None if there is none, or another finding was met first.
        bypass: For each lock or channel that a thread waited for, the most often that others got on while one thread waited;
            None for any number of times.  Empty unless all states were visited.
    """

    cycle: Cycle | None = None
    bypass: dict[str, int | None] = attrs.field(factory=dict)


class _Ended(Exception):  # noqa: N818 (no error: it ends a run)
    """Ends a run whose driver has seen enough."""


@attrs.define
class _Node:
    """A state: who can run, who has not ended, what each waits for, and where the steps lead."""

    runnable: tuple[int, ...]
    alive: tuple[int, ...]
    waits: tuple[str, ...]
    edges: dict[int, tuple[int, tuple[int, ...]]] = attrs.Factory(dict)
    """By thread: the number of the next state, and who got on in the step."""
    words: dict[int, str] = attrs.Factory(dict)
    """By thread: what the step was."""


class _Graph(Driver):
    """All states; a driver that walks from a state that is known to one that is not."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self._numbers: dict[Hashable, int] = {}
        self._open: list[int] = []
        """States from which not every thread has run yet."""
        self.machine: Machine | None = None
        self._path: deque[int] = deque()
        self._came: tuple[int, int] | None = None

    def walk(self, make: MakeMachine, max_steps: int) -> Run | None:
        """Run once, to where something is unknown and on until nothing is; return the run if it has a finding."""
        self._path = deque(self._way_to_open())
        self._came = None
        self.machine = make()
        try:
            run = self.machine.run(self, max_steps=max_steps, record=False)
        except _Ended:
            return None
        self._arrive(())
        return run if run.findings else None

    @property
    def finished(self) -> bool:
        """Whether every thread has run from every state."""
        while self._open and self._is_full(self.nodes[self._open[-1]]):
            self._open.pop()
        return bool(self.nodes) and not self._open

    def _is_full(self, node: _Node) -> bool:
        return len(node.edges) == len(node.runnable)

    def _arrive(self, runnable: tuple[int, ...]) -> int:
        """Enter the state that the machine is in, and the step that led there."""
        machine = self.machine
        assert machine is not None  # it runs
        state = machine.state()
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self.nodes)
            names = range(len(machine.names))
            alive = tuple(each for each in names if machine.alive(each))
            self.nodes.append(_Node(runnable, alive, tuple(map(machine.waits, names))))
            if runnable:
                self._open.append(number)
        if self._came is not None:
            before, thread = self._came
            self.nodes[before].edges[thread] = number, machine.progress
            self.nodes[before].words[thread] = machine.did
        return number

    def choose(self, _step: int, runnable: tuple[int, ...], _default: int) -> int:
        """Follow the way, then take what was not taken, and stop where all was."""
        number = self._arrive(runnable)
        node = self.nodes[number]
        if self._path:
            chosen = self._path.popleft()
        else:
            untried = [thread for thread in runnable if thread not in node.edges]
            if not untried:
                raise _Ended
            chosen = untried[0]
        self._came = number, chosen
        return chosen

    def _way_to_open(self) -> list[int]:
        """Return the choices that lead from the first state to one from which not every thread has run."""
        if not self.nodes:
            return []
        return self.way(lambda number: not self._is_full(self.nodes[number]))

    def way(self, wanted: Callable[[int], bool]) -> list[int]:
        """Return the fewest choices that lead from the first state to one that is wanted."""
        came: dict[int, tuple[int, int] | None] = {0: None}
        queue = deque([0])
        while queue:
            number = queue.popleft()
            if wanted(number):
                choices: list[int] = []
                back = came[number]
                while back is not None:
                    choices.append(back[1])
                    back = came[back[0]]
                return choices[::-1]
            for thread, (target, _) in sorted(self.nodes[number].edges.items()):
                if target not in came:
                    came[target] = number, thread
                    queue.append(target)
        raise AssertionError("no such state")  # pragma: no cover - the callers ask for states that can be reached

    def components(self, within: set[int], allows: Callable[[int, int], bool]) -> Iterator[set[int]]:
        """Yield the strongly connected sets of states that have a step, over the steps that are allowed."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        on_stack: set[int] = set()
        for root in within:
            if root in index:
                continue
            work: list[tuple[int, Iterator[int]]] = []
            self._push(root, index, low, stack, on_stack)
            work.append((root, iter(self._targets(root, within, allows))))
            while work:
                number, targets = work[-1]
                for target in targets:
                    if target not in index:
                        self._push(target, index, low, stack, on_stack)
                        work.append((target, iter(self._targets(target, within, allows))))
                        break
                    if target in on_stack:
                        low[number] = min(low[number], index[target])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[number])
                    if low[number] == index[number]:
                        found: set[int] = set()
                        while number not in found:
                            found.add(stack.pop())
                        on_stack -= found
                        if len(found) > 1 or number in self._targets(number, within, allows):
                            yield found

    def _push(self, number: int, index: dict[int, int], low: dict[int, int], stack: list[int], on: set[int]) -> None:
        index[number] = low[number] = len(index)
        stack.append(number)
        on.add(number)

    def _targets(self, number: int, within: set[int], allows: Callable[[int, int], bool]) -> list[int]:
        edges = self.nodes[number].edges
        return [target for thread, (target, _) in edges.items() if target in within and allows(number, thread)]


def find_cycles(
    make: MakeMachine, *, starvation: bool = False, most: int = 100_000, max_steps: int = 100_000
) -> CycleSearch:
    """Visit every state that threads can come to, and look for livelock and starvation.

    Args:
        make: Makes the machine, with a ``snapshot``; it is called again for each walk.
        starvation: Whether to look for starvation, too, if there is no livelock.
        most: How many states to visit at most, >= 1.
        max_steps: The most steps of a walk.

    Returns:
        The first deadlock, lost wakeup or other finding of a run; else a livelock; else a starvation.

    Raises:
        InvalidRequestError: If a number is out of range.

    Complexity:
        O(states * threads) steps of threads, and as many for the ways to where something is unknown.
    """
    for name, value in (("most", most), ("max_steps", max_steps)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(name, value, "must be an int >= 1")
    graph = _Graph()
    while not graph.finished:
        if len(graph.nodes) >= most:
            return CycleSearch(len(graph.nodes), complete=False, run=None)
        run = graph.walk(make, max_steps)
        if run is not None:
            return CycleSearch(len(graph.nodes), complete=False, run=run)
    names = make().names
    cycle = _livelock(graph, names) or (_starvation(graph, names) if starvation else None)
    shown = _verified(make, cycle) if cycle is not None else None
    return CycleSearch(len(graph.nodes), complete=cycle is None, run=shown, cycle=cycle, bypass=_bypass(graph))


# --- fair cycles -------------------------------------------------------------------------------------------------


def _livelock(graph: _Graph, names: tuple[str, ...]) -> Cycle | None:
    """Return a cycle without progress: one that is strongly fair if there is one, else one that is weakly fair."""

    def allows(number: int, thread: int) -> bool:
        return not graph.nodes[number].edges[thread][1]

    weak: set[int] | None = None
    pending = [set(range(len(graph.nodes)))]
    while pending:
        for found in graph.components(pending.pop(), allows):
            can = {thread for number in found for thread in graph.nodes[number].runnable}
            runs = _runs(graph, found, allows)
            if can <= runs:
                return _cycle(graph, names, FindingKind.LIVELOCK, found, allows, can, strong=True)
            if weak is None and _always(graph, found) <= runs:
                weak = found
            idle = can - runs
            pending.append({number for number in found if idle.isdisjoint(graph.nodes[number].runnable)})
    if weak is None:
        return None
    return _cycle(graph, names, FindingKind.LIVELOCK, weak, allows, _runs(graph, weak, allows), strong=False)


def _always(graph: _Graph, found: set[int]) -> set[int]:
    """Return the threads that can run in each of some states."""
    return set.intersection(*(set(graph.nodes[number].runnable) for number in found))


def _starvation(graph: _Graph, names: tuple[str, ...]) -> Cycle | None:
    """Return a cycle on which others get on and one thread does not, and whoever can always run runs."""
    for starving in range(len(names)):

        def allows(number: int, thread: int, starving: int = starving) -> bool:
            return starving not in graph.nodes[number].edges[thread][1]

        for found in graph.components({n for n, node in enumerate(graph.nodes) if starving in node.alive}, allows):
            runs = _runs(graph, found, allows)
            gets_on = any(
                graph.nodes[number].edges[thread][1]
                for number in found
                for thread, (target, _) in graph.nodes[number].edges.items()
                if target in found and allows(number, thread)
            )
            if gets_on and _always(graph, found) <= runs:
                can = {thread for number in found for thread in graph.nodes[number].runnable}
                strong = can <= runs
                return _cycle(
                    graph, names, FindingKind.STARVATION, found, allows, runs, strong=strong, starving=starving
                )
    return None


def _runs(graph: _Graph, found: set[int], allows: Callable[[int, int], bool]) -> set[int]:
    """Return the threads that make a step within some states."""
    return {
        thread
        for number in found
        for thread, (target, _) in graph.nodes[number].edges.items()
        if target in found and allows(number, thread)
    }


def _cycle(
    graph: _Graph,
    names: tuple[str, ...],
    kind: FindingKind,
    found: set[int],
    allows: Callable[[int, int], bool],
    needed: set[int],
    *,
    strong: bool,
    starving: int | None = None,
) -> Cycle:
    """Return a way through some states, from the nearest one back to it, on which all threads run that have to."""
    prefix = graph.way(lambda number: number in found)
    start = 0
    for thread in prefix:
        start = graph.nodes[start].edges[thread][0]
    inside = _Inside(graph, found, allows)
    round_, at, left = list[int](), start, set(needed)
    if starving is not None:  # somebody gets on
        way, at = inside.way_to_step(at, lambda number, thread: bool(graph.nodes[number].edges[thread][1]))
        round_ += way
        left -= set(way)
    while left:
        way, at = inside.way_to_step(at, lambda _, thread, left=left: thread in left)  # type: ignore[misc]
        round_ += way
        left -= set(way)
    round_ += inside.way_back(at, start)
    turns, at = [], start
    for thread in round_:
        turns.append(Turn(names[thread], graph.nodes[at].words[thread]))
        at = graph.nodes[at].edges[thread][0]
    node = graph.nodes[start]
    others = [each for each in node.alive if each not in round_ or each == starving]
    others.sort(key=lambda each: each != starving)
    return Cycle(
        kind,
        tuple(names[each] for each in sorted(set(round_))),
        tuple((names[each], node.waits[each]) for each in others),
        (*prefix, *round_),
        len(prefix),
        tuple(turns),
        strong,
    )


class _Inside:
    """Ways that stay within some states."""

    def __init__(self, graph: _Graph, found: set[int], allows: Callable[[int, int], bool]) -> None:
        self._graph, self._found, self._allows = graph, found, allows

    def way_to_step(self, start: int, wanted: Callable[[int, int], bool]) -> tuple[list[int], int]:
        """Return the fewest choices whose last is a step that is wanted, and the state after it."""
        queue: deque[tuple[int, list[int]]] = deque([(start, [])])
        seen = {start}
        while True:
            number, way = queue.popleft()
            for thread, (target, _) in sorted(self._graph.nodes[number].edges.items()):
                if target not in self._found or not self._allows(number, thread):
                    continue
                if wanted(number, thread):
                    return [*way, thread], target
                if target not in seen:
                    seen.add(target)
                    queue.append((target, [*way, thread]))

    def way_back(self, start: int, target: int) -> list[int]:
        """Return the fewest choices, at least one if it is not there yet, that lead to a state."""
        if start == target:
            return []
        way, _ = self.way_to_step(start, lambda number, thread: self._graph.nodes[number].edges[thread][0] == target)
        return way


def _bypass(graph: _Graph) -> dict[str, int | None]:
    """Return how often others can get on while one thread waits for a lock, at most, by lock; None for any number."""
    locks = sorted({what for node in graph.nodes for what in node.waits if what})
    most: dict[str, int | None] = {}
    for what in locks:
        for thread in range(len(graph.nodes[0].waits)):
            waiting = {number for number, node in enumerate(graph.nodes) if node.waits[thread] == what}
            longest = _longest(graph, waiting, thread)
            so_far = most.get(what, 0)
            most[what] = None if longest is None or so_far is None else max(so_far, longest)
    return most


def _longest(graph: _Graph, within: set[int], waiter: int) -> int | None:
    """Return the most steps in which another thread gets on, along any way within some states; None if there is no most."""

    def weight(number: int, thread: int) -> int:
        return int(thread != waiter and bool(graph.nodes[number].edges[thread][1]))

    component: dict[int, int] = {}
    for which, found in enumerate(graph.components(within, lambda _number, _thread: True)):
        for number in found:
            component[number] = which
            for thread, (target, _) in graph.nodes[number].edges.items():
                if target in found and weight(number, thread):
                    return None
    lengths: dict[int, int] = {}
    for root in within:
        stack = [root]
        while stack:
            number = stack[-1]
            members = _members(component, number, within)
            missing = [
                target
                for member in members
                for target, _ in graph.nodes[member].edges.values()
                if target in within and target not in members and target not in lengths
            ]
            if missing and number not in lengths:
                stack.append(missing[0])
                continue
            stack.pop()
            length = max(
                (
                    lengths[target] + weight(member, thread)
                    for member in members
                    for thread, (target, _) in graph.nodes[member].edges.items()
                    if target in within and target not in members
                ),
                default=0,
            )
            for member in members:
                lengths[member] = length
    return max(lengths.values(), default=0)


def _members(component: dict[int, int], number: int, within: set[int]) -> set[int]:
    which = component.get(number)
    return {number} if which is None else {other for other in within if component.get(other) == which}


# --- along runs --------------------------------------------------------------------------------------------------


_ROUNDS: Final = 3
_KEPT: Final = 8
"""How many visits of a state are remembered."""


class _Watching(Driver):
    """A driver that watches for a state that comes again."""

    def __init__(self, machine: Machine, driver: Driver, *, starvation: bool, not_before: int) -> None:
        self._machine, self._driver, self._starvation = machine, driver, starvation
        self._not_before = not_before
        self._seen: dict[Hashable, list[int]] = {}
        self._chosen: list[int] = []
        self._words: list[str] = []
        self._runnable: list[tuple[int, ...]] = []
        self._got_on: list[tuple[int, ...]] = []
        """Who got on in the step that led to each state."""
        self._waits: list[tuple[str, ...]] = []
        self.found: Cycle | None = None

    def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
        """Let the driver choose, unless a fair cycle has been closed."""
        machine = self._machine
        if step:
            self._words.append(machine.did)
        self._got_on.append(machine.progress)
        self._waits.append(tuple(map(machine.waits, range(len(machine.names)))))
        visits = self._seen.setdefault(machine.state(), [])
        for before in () if step < self._not_before else visits if self._not_before else reversed(visits):
            self.found = self._cycle(before, step)
            if self.found is not None:
                raise _Ended
        visits.append(step)
        del visits[:-_KEPT]
        chosen = self._driver.choose(step, runnable, default)
        self._chosen.append(chosen)
        self._runnable.append(runnable)
        return chosen

    def _cycle(self, before: int, step: int) -> Cycle | None:
        """Return the cycle between two visits of a state, if it is fair and one in which somebody does not get on."""
        machine, names = self._machine, self._machine.names
        got_on = set().union(*self._got_on[before + 1 : step + 1])
        runs = set(self._chosen[before:step])
        if not set.intersection(*map(set, self._runnable[before:step])) <= runs:
            return None
        alive = [each for each in range(len(names)) if machine.alive(each)]
        starving = [each for each in alive if each not in got_on] if got_on else []
        if got_on and not (self._starvation and starving):
            return None
        kind = FindingKind.STARVATION if got_on else FindingKind.LIVELOCK
        stuck = starving or [each for each in alive if each not in runs]
        return Cycle(
            kind,
            tuple(names[each] for each in sorted(runs)),
            tuple((names[each], self._waits[before][each]) for each in stuck),
            tuple(self._chosen),
            before,
            tuple(
                Turn(names[each], what) for each, what in zip(self._chosen[before:], self._words[before:], strict=True)
            ),
            runs.issuperset(set().union(*self._runnable[before:step])),
        )


def search_cycles(
    make: MakeMachine,
    drivers: Iterable[Driver],
    *,
    starvation: bool = False,
    max_steps: int = 10_000,
    not_before: int = 0,
) -> CycleSearch:
    """Run once with each driver until a run has a finding, or goes round a livelock.

    Args:
        make: Makes the machine, with a ``snapshot``.
        drivers: The drivers of the first run, the second, and so on.
        starvation: Whether a starvation is a finding, too.
        max_steps: The most steps of a run; one that needs more is given up, and is no finding.
        not_before: A cycle that ends before so many steps is gone past; the longest that ends then is found.

    Complexity:
        O(threads * variables) for each step, and O(steps) for each state that comes again.
    """
    runs = 0
    for driver in drivers:
        runs += 1
        machine = make()
        watching = _Watching(machine, driver, starvation=starvation, not_before=not_before)
        run: Run | None = None
        with contextlib.suppress(_Ended):
            run = machine.run(watching, max_steps=max_steps, record=False)
        if watching.found is not None:
            return CycleSearch(runs, complete=False, run=_verified(make, watching.found), cycle=watching.found)
        if run is not None and run.findings and run.findings[0].kind is not FindingKind.DOES_NOT_END:
            return CycleSearch(runs, complete=False, run=run)
    return CycleSearch(runs, complete=False, run=None)


def _verified(make: MakeMachine, cycle: Cycle) -> Run:
    """Go round a cycle twice more on a new machine: each time it must come to the same state; return the run that shows it.

    Raises:
        InvalidRequestError: If it does not: then ``snapshot`` leaves out what threads share.
    """
    machine = make()
    into, round_ = cycle.schedule[: cycle.prefix], cycle.schedule[cycle.prefix :]
    choices = (*into, *(round_ * _ROUNDS))
    states: list[Hashable] = []

    class _Round(Driver):
        def choose(self, step: int, runnable: tuple[int, ...], _default: int) -> int:
            if step >= len(into) and (step - len(into)) % len(round_) == 0:
                states.append(machine.state())
            if step == len(choices) or choices[step] not in runnable:
                raise _Ended
            return choices[step]

    with contextlib.suppress(_Ended):
        machine.run(_Round(), record=False)
    if len(states) != 1 + _ROUNDS or len(set(states)) != 1:
        raise InvalidRequestError(
            "snapshot", cycle.prefix, "leaves out what threads share: a cycle did not come round again"
        )
    run = make().run(Schedule(tuple(enumerate(cycle.schedule))), max_steps=len(cycle.schedule))
    return attrs.evolve(run, findings=(cycle.finding,))
