"""A probe: the same random calls on pipes for a Linux kernel and for its model, step by step, and where they differ.

A program is a list of steps on two pipes, 0 and 1, that exist when it begins, with non-blocking ends.  A step is a list: what
to do, and numbers.  After each step the result is compared (a number, or minus an error number; of a read also a checksum of
the bytes) and what FIONREAD, F_GETPIPE_SZ and poll(2) then tell of both pipes.

* ``write PIPE N``, ``read PIPE N``: write N bytes, read up to N;
* ``size PIPE N``: F_SETPIPE_SZ;
* ``tee PIPE N``, ``splice PIPE N``: tee(2) or splice(2) to the other pipe;
* ``file PIPE AT N``: splice(2) from a file, from an offset on;
* ``vmsplice PIPE K N AT G``: vmsplice(2) of K parts of N bytes, each so far into a page; G is 1 with SPLICE_F_GIFT;
* ``packet PIPE ON``: F_SETFL, with O_DIRECT or without;
* ``close PIPE END``: close an end; ``pipe PIPE``: close both, and make the pipe anew;
* ``more K N``: make K more pipes of N bytes, and keep them; the result is the slots of them all.

Programs are drawn beside the model, so that they suit what it holds; a kernel runs them afterwards, in a process of its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import attrs

from coalloc.errors import PipeError, ProgramError
from coalloc.pipes.budget import Owner
from coalloc.pipes.eras import Era, KernelState, LinuxState
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.states import STATES
from coalloc.pipes.system import PipeSystem
from coalloc.space.perpipe import PerPipeSpace
from coalloc.units import MiB, is_power_of_two
from coalloc.vm.kernelmap import KernelMap

__all__ = [
    "Answer",
    "Asking",
    "Difference",
    "Machine",
    "Step",
    "compare",
    "draw_program",
    "has_model_of_its_age",
    "model_answers",
    "pattern",
    "read_probes",
    "shortest",
    "state_of",
    "without_events",
]

Step = tuple[str | int, ...]
"""What to do, and numbers."""
Answer = list[Any]
"""The result, a checksum, and what is told of each pipe: FIONREAD, size, events of the reading end, of the writing end."""

FILE_SIZE: Final = 4 * MiB
"""Bytes of the file, all zero, that pages are spliced from."""
MOST_KEPT: Final = 400
"""The most pipes that a step ``more`` makes."""
_NUMBERS: Final = {
    "write": 2, "read": 2, "size": 2, "tee": 2, "splice": 2, "file": 3, "vmsplice": 5, "packet": 2, "close": 2, "pipe": 1,
    "more": 2,
}  # fmt: skip
_MOST: Final = {
    "write": (1 << 22,), "file": (FILE_SIZE, 1 << 40), "vmsplice": (1024, 1 << 22, 1 << 20, 1), "packet": (1,),
    "close": (1,), "more": (1 << 40,),
}  # fmt: skip
"""The most that the further numbers of a step may be, where that is not 2**40."""
_POLLIN, _POLLOUT, _POLLERR, _POLLHUP = 1, 4, 8, 16
_MOST_MEMORY: Final = 1 << 34


@attrs.frozen
class Machine:
    """A kernel, and who asks it.

    Args:
        kernel: Its name and version, such as "Linux 6.18.44".
        page: Bytes of a page.
        uid: The user.
        resource: Whether the user has CAP_SYS_RESOURCE.
        admin: Whether the user has CAP_SYS_ADMIN.
        max_size: fs.pipe-max-size.
        soft: fs.pipe-user-pages-soft.
        hard: fs.pipe-user-pages-hard.
    """

    kernel: str
    page: int
    uid: int
    resource: bool
    admin: bool
    max_size: int
    soft: int
    hard: int

    @property
    def owner(self) -> Owner:
        """The user as the model knows one."""
        return Owner(self.uid, privileged=self.resource or self.admin, resource=self.resource, admin=self.admin)


def state_of(kernel: str) -> KernelState:
    """Return the newest state of Linux or FreeBSD that is no newer than a kernel, or the oldest that there is for it.

    Raises:
        ProgramError: If its name is not one of these.

    >>> state_of("Linux 6.18.44").name, state_of("Linux 5.15.0-91-generic").name, state_of("Linux 3.10").name
    ('linux', 'linux-5.10', 'linux-4.4')
    >>> state_of("FreeBSD 13.2-RELEASE").name, state_of("FreeBSD 15.0").name
    ('12.2', 'current')
    """
    words = kernel.split()
    if len(words) != 2 or words[0] not in ("Linux", "FreeBSD") or not words[1][0].isdigit():
        raise ProgramError(f"there is no model of {kernel!r}")
    version = _version(words[1])
    if words[0] == "FreeBSD":
        return [STATES[name] for number, name in _FREEBSD if number <= version or name == _FREEBSD[0][1]][-1]
    linux = [state for state in STATES.values() if isinstance(state, LinuxState)]
    states = sorted((_version_of(state), state.name) for state in linux)
    return [STATES[name] for number, name in states if number <= version or number == states[0][0]][-1]


def has_model_of_its_age(kernel: str) -> bool:
    """Tell whether there is a state that is no newer than a kernel.

    >>> has_model_of_its_age("Linux 3.10"), has_model_of_its_age("FreeBSD 13.2-RELEASE")
    (False, True)
    """
    name, version = kernel.split()
    if name == "FreeBSD":
        return _version(version) >= _FREEBSD[0][0]
    return _version(version) >= min(_version_of(state) for state in STATES.values() if isinstance(state, LinuxState))


def _version_of(state: LinuxState) -> tuple[int, int]:
    return _version(state.title.partition(":")[0].split()[1])


_FREEBSD: Final = (((10, 0), "10.x"), ((12, 2), "12.2"), ((14, 0), "14.x"), ((15, 0), "current"))


def _version(text: str) -> tuple[int, int]:
    numbers = [int("".join(char for char in part if char.isdigit()) or 0) for part in text.replace("-", ".").split(".")]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0)


def pattern(number: int, n: int) -> bytes:
    """Return the bytes that the write of a step stores: its number, again and again.

    Args:
        number: The number of the step, from 0.
        n: How many bytes.
    """
    return bytes([number % 251 + 1]) * n


# --- the model --------------------------------------------------------------------------------------------------


class _Model:
    """Two pipes of the model, and what is done with them."""

    def __init__(self, machine: Machine, state: LinuxState, charged: int = 0) -> None:
        kernel = KernelMap(base=0, size=_MOST_MEMORY, direct=True)
        self.machine = machine
        self.system = LinuxPipes(
            PerPipeSpace(kernel, kva_limit=_MOST_MEMORY),
            state=state,
            pages_soft=machine.soft,
            pages_hard=machine.hard,
            max_size=machine.max_size,
            page_size=machine.page,
        )
        self.system.charge(machine.owner, charged)
        self.pipes: list[LinuxPipe | None] = [None, None]
        self.packets = [False, False]
        self.open = [[False, False], [False, False]]
        self.kept = 0
        for number in (0, 1):
            self._make(number)

    def _make(self, number: int) -> int:
        self.packets[number] = False
        self.open[number] = [False, False]
        self.pipes[number] = None
        try:
            self.pipes[number] = self.system.pipe(self.machine.owner)
        except PipeError as error:
            return -(error.errno or 0)
        self.open[number] = [True, True]
        return 0

    def do(self, number: int, step: Step) -> Answer:
        """Do a step, and return its answer."""
        what, *numbers = step
        into = bytearray()
        try:
            result = getattr(self, f"_{what}")(number, into, *numbers)
        except PipeError as error:
            result = -(error.errno or 0)
        told: Answer = [result, zlib.crc32(into) if what == "read" and result >= 0 else 0]
        for pipe in (0, 1):
            told += self._told(pipe)
        return told

    def _told(self, number: int) -> list[int]:
        pipe, (reads, writes) = self.pipes[number], self.open[number]
        if pipe is None or not (reads or writes):
            return [-1, -1, -1, -1]
        events = [-1, -1]
        for end in (0, 1):
            if self.open[number][end]:
                told = pipe.poll(end)
                events[end] = (
                    _POLLIN * told.readable + _POLLOUT * told.writable + _POLLERR * told.error + _POLLHUP * told.hung_up
                )
        return [pipe.buffered(0), pipe.size, *events]

    def _end(self, number: int, end: int) -> LinuxPipe:
        pipe = self.pipes[number]
        if pipe is None or not self.open[number][end]:
            raise PipeError(errno.EBADF, "step")
        return pipe

    def _write(self, number: int, _into: bytearray, pipe: int, n: int) -> int:
        return self._end(pipe, 1).write(1, pattern(number, n), packet=self.packets[pipe])

    def _read(self, _number: int, into: bytearray, pipe: int, n: int) -> int:
        return self._end(pipe, 0).read(0, n, into=into)

    def _size(self, _number: int, _into: bytearray, pipe: int, n: int) -> int:
        return self._end(pipe, 0 if self.open[pipe][0] else 1).set_size(n)

    def _tee(self, _number: int, _into: bytearray, pipe: int, n: int) -> int:
        return self._linked(pipe, n, LinuxPipe.tee)

    def _splice(self, _number: int, _into: bytearray, pipe: int, n: int) -> int:
        return self._linked(pipe, n, LinuxPipe.splice)

    def _linked(self, pipe: int, n: int, call: Callable[[LinuxPipe, LinuxPipe, int], int]) -> int:
        if not n:
            return 0
        return call(self._end(pipe, 0), self._end(1 - pipe, 1), n)

    def _file(self, _number: int, _into: bytearray, pipe: int, at: int, n: int) -> int:
        if not n:
            return 0
        return self._end(pipe, 1).splice_from_file(at, min(n, FILE_SIZE - at))

    def _vmsplice(self, _number: int, _into: bytearray, pipe: int, k: int, n: int, at: int, gift: int) -> int:
        return self._end(pipe, 1).vmsplice([n] * k, offset=at, gift=bool(gift))

    def _packet(self, _number: int, _into: bytearray, pipe: int, on: int) -> int:
        self._end(pipe, 1)
        self.packets[pipe] = bool(on)
        return 0

    def _close(self, _number: int, _into: bytearray, pipe: int, end: int) -> int:
        self._end(pipe, end).close(end)
        self.open[pipe][end] = False
        return 0

    def _pipe(self, _number: int, _into: bytearray, pipe: int) -> int:
        for end in (0, 1):
            if self.open[pipe][end]:
                self._close(0, bytearray(), pipe, end)
        return self._make(pipe)

    def _more(self, _number: int, _into: bytearray, k: int, n: int) -> int:
        slots = 0
        for _ in range(k):
            pipe = self.system.pipe(self.machine.owner)
            with contextlib.suppress(PipeError):
                pipe.set_size(n)
            slots += pipe.max_slots
        self.kept += k
        return slots


class _FreeBSD:
    """Two pipes of FreeBSD's model; of its kernel's calls it has those that Linux has, too, and no poll."""

    def __init__(self, machine: Machine, era: Era) -> None:
        kernel = KernelMap(base=0, size=_MOST_MEMORY)
        self.machine = machine
        self.system = PipeSystem(PerPipeSpace(kernel, kva_limit=_MOST_MEMORY), era, maxpipekva=64 * MiB)
        self.pipes = [self.system.pipe() for _ in (0, 1)]
        self.open = [[True, True], [True, True]]

    def do(self, number: int, step: Step) -> Answer:
        """Do a step, and return its answer."""
        what, *numbers = step
        into = bytearray()
        try:
            result = self._done(number, str(what), into, [int(each) for each in numbers])
        except PipeError as error:
            result = -(error.errno or 0)
        told: Answer = [result, zlib.crc32(into) if what == "read" and result >= 0 else 0]
        for pipe, ends in enumerate(self.open):
            end = 0 if ends[0] else 1
            told += [self.pipes[pipe].readable(end) if any(ends) else -1, -1, 0, 0]
        return told

    def _done(self, number: int, what: str, into: bytearray, numbers: list[int]) -> int:
        pipe = numbers[0]
        if what in ("write", "read", "close"):
            end = numbers[1] if what == "close" else int(what == "write")
            if not self.open[pipe][end]:
                raise PipeError(errno.EBADF, what)
            if what == "write":
                return self.pipes[pipe].write(1, pattern(number, numbers[1]))
            if what == "read":
                return self.pipes[pipe].read(0, numbers[1], into=into)
            self.pipes[pipe].close(end)
            self.open[pipe][end] = False
            return 0
        if what == "pipe":
            for end in (0, 1):
                if self.open[pipe][end]:
                    self.pipes[pipe].close(end)
            self.pipes[pipe], self.open[pipe] = self.system.pipe(), [True, True]
            return 0
        return -_ENOSYS


_ENOSYS: Final = 38
_LINUX_ONLY: Final = (3, 4, 5, 7, 8, 9)
"""Where an answer has F_GETPIPE_SZ and the events of poll(2), which FreeBSD's model does not tell as its kernel does."""


def without_events(answers: Iterable[Answer]) -> list[Answer]:
    """Return answers in which no events are told, and no sizes."""
    return [[0 if at in _LINUX_ONLY else value for at, value in enumerate(answer)] for answer in answers]


def model_answers(
    machine: Machine, program: Iterable[Step], state: KernelState | None = None, *, charged: int = 0
) -> list[Answer]:
    """Return what the model answers to the steps of a program.

    Args:
        machine: The kernel that is modelled, and who asks.
        program: The steps.
        state: The version of the model; None for that of the kernel.
        charged: Slots that the user's other pipes are charged for.
    """
    version = state or state_of(machine.kernel)
    freebsd = _FreeBSD(machine, version) if isinstance(version, Era) else None
    model = freebsd or _Model(machine, cast("LinuxState", version), charged)
    return [model.do(number, step) for number, step in enumerate(program)]


# --- drawing ------------------------------------------------------------------------------------------------------


def draw_program(machine: Machine, seed: int, steps: int = 60) -> list[Step]:
    """Draw a program that suits what the model holds.

    Args:
        machine: The kernel, and who asks.
        seed: The program depends on it and on the machine alone.
        steps: How many steps.
    """
    draw = random.Random(seed)
    state = state_of(machine.kernel)
    model = _Model(machine, cast("LinuxState", state))
    program: list[Step] = []
    if draw.random() < 0.15:
        program.append(("more", draw.choice((1, 3, 60, 64)), draw.choice((machine.page, machine.max_size))))
        model.do(0, program[-1])
    kinds = draw.choices(
        ["write", "read", "size", "tee", "splice", "file", "vmsplice", "packet", "close", "pipe"],
        [30, 22, 10, 8, 8, 5, 5, 3, 1.5, 2.5],
        k=steps,
    )
    focus = draw.random()
    for kind in kinds:
        pipe = int(draw.random() < (0.5 if focus < 0.5 else 0.1))
        step = _drawn(draw, kind, pipe, model)
        model.do(len(program), step)
        program.append(step)
        lost = [number for number in (0, 1) if not all(model.open[number])]
        if lost and draw.random() < 0.3:
            program.append(("pipe", draw.choice(lost)))
            model.do(len(program) - 1, program[-1])
    return program


def _drawn(draw: random.Random, kind: str, pipe: int, model: _Model) -> Step:
    page = model.machine.page
    there = model.pipes[pipe]
    held = there.buffered(0) if there is not None else 0
    room = (there.max_slots - len(there.halves[0].ring.slots)) * page if there is not None else 0
    near = draw.choice(
        (0, 1, page - 1, page, page + 1, 2 * page, held, held // 2, room, room + 1, draw.randrange(1, 3 * page))
    )
    if kind in ("write", "read", "tee", "splice"):
        n = draw.choice((near, near, draw.randrange(1, 200), draw.randrange(1, 20 * page)))
        return (kind, pipe, n)
    if kind == "size":
        n = draw.choice((
            0, 1, page, page + 1, 2 * page, draw.randrange(1, 40 * page), 16 * page, held, model.machine.max_size,
            model.machine.max_size + 1, 2**28, 2**28 + 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 2 * page, -1,
        ))  # fmt: skip
        if n > 1 << 25 and n <= 2**28:
            n = draw.choice((n, 4 * page))  # a ring of megabytes takes long
        return (kind, pipe, n)
    if kind == "file":
        return (kind, pipe, draw.choice((0, 1, 100, page, draw.randrange(FILE_SIZE - page))), near)
    if kind == "vmsplice":
        at = draw.choice((0, 0, 1, page // 2, page - 1))
        return (
            kind,
            pipe,
            draw.choice((1, 1, 2, 3, 16, 20)),
            draw.choice((1, 10, page, page + 1, 3 * page)),
            at,
            draw.randrange(2),
        )
    if kind == "packet":
        return (kind, pipe, draw.randrange(2))
    return (kind, pipe, draw.randrange(2)) if kind == "close" else (kind, pipe)


# --- comparing --------------------------------------------------------------------------------------------------


@attrs.frozen
class Difference:
    """The first step of a program that a kernel answers otherwise than its model.

    Args:
        program: The steps, up to that one.
        kernel: The kernel's answer.
        model: The model's answer.
    """

    program: tuple[Step, ...]
    kernel: Answer
    model: Answer

    @property
    def words(self) -> list[tuple[str, Any, Any]]:
        """What differs: its name, what the kernel tells, and what the model tells."""
        names = ["result", "checksum"]
        names += [
            f"{what} of pipe {pipe}"
            for pipe in (0, 1)
            for what in ("bytes", "size", "events to read", "events to write")
        ]
        pairs = zip(names, self.kernel, self.model, strict=True)
        return [(name, theirs, ours) for name, theirs, ours in pairs if theirs != ours]


def compare(program: list[Step], kernel: list[Answer], model: list[Answer]) -> Difference | None:
    """Return the first difference, or None."""
    for number, (theirs, ours) in enumerate(zip(kernel, model, strict=False)):
        if theirs != ours:
            return Difference(tuple(program[: number + 1]), theirs, ours)
    return None


def shortest(found: Difference, differs: Callable[[list[Step]], Difference | None]) -> Difference:
    """Leave out steps of a program as long as it still differs, and return what is left.

    Args:
        found: The difference.
        differs: Runs a program on the kernel and on the model.

    Complexity:
        At most the square of the number of steps, in runs; usually some dozens.
    """
    size = max(len(found.program) // 2, 1)
    while True:
        at, shorter = 0, False
        while at < len(found.program):
            candidate = [*found.program[:at], *found.program[at + size :]]
            again = differs(candidate) if candidate else None
            if again is not None and len(again.program) < len(found.program):
                found, shorter = again, True
            else:
                at += size
        if size == 1 and not shorter:
            return found
        size = max(size // 2, 1)


# --- files --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Asking:
    """A program that a kernel was asked.

    Args:
        program: The steps.
        answers: The kernel's answers, one for each step.
        charged: Slots that the user's other pipes were charged for; -1 if that changed meanwhile.
    """

    program: list[Step]
    answers: list[Answer]
    charged: int = 0


def read_probes(lines: Iterable[bytes], name: str | None = None) -> tuple[Machine, Iterator[Asking | int]]:
    """Read what a probe has recorded: a line about the machine, one for each program, and one with their number.

    Args:
        lines: The lines of the file.
        name: The name of the file, for errors.

    Returns:
        The machine, and an iterator over what was asked; at last the number of programs, if the file has its last line.

    Raises:
        ProgramError: If a line is not what it should be; the iterator raises it, too.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if line.strip():
            try:
                given = json.loads(line)
                told = {field.name: given[field.name] for field in attrs.fields(Machine)}
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ProgramError(
                    "does not tell the machine, as the first line of a probe does", name, number
                ) from None
            for what, value in told.items():
                if not _FIELDS[what](value):
                    raise ProgramError(f"tells a machine whose {what} is {str(value)[:40]!r}", name, number)
            return Machine(**told), _programs(numbered, name)
    raise ProgramError("has no line", name)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST_MEMORY


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_page(value: object) -> bool:
    return type(value) is int and 512 <= value <= MiB and is_power_of_two(value)


_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "kernel": lambda value: isinstance(value, str),
    "page": _is_page,
    "uid": _is_number,
    "resource": _is_flag,
    "admin": _is_flag,
    "max_size": _is_number,
    "soft": _is_number,
    "hard": _is_number,
}
"""What the values of a machine may be."""


def _programs(numbered: Iterator[tuple[int, bytes]], name: str | None) -> Iterator[Asking | int]:
    done = 0
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if "programs" in given:
                if given["programs"] != done:
                    raise ValueError(f"the last line tells {str(given['programs'])[:20]} programs, the file has {done}")
                yield done
                continue
            program = [_step(step) for step in given["steps"]]
            answers = [_answer(answer) for answer in given["answers"]]
            charged = given.get("charged", 0)
            if type(charged) is not int or not -1 <= charged < _MOST_MEMORY:
                raise ValueError(f"charged is {str(charged)[:20]}")
            if len(answers) != len(program):
                raise ValueError(f"it has {len(answers)} answers to {len(program)} steps")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ProgramError(f"is no program of a probe: {what}", name, number) from None
        done += 1
        yield Asking(program, answers, charged)
    if not done:
        raise ProgramError("has no program", name)


def _step(given: object) -> Step:
    if type(given) is not list or not given or _NUMBERS.get(given[0]) != len(given) - 1:
        raise ValueError(f"{str(given)[:60]} is no step")
    if any(type(number) is not int for number in given[1:]):
        raise ValueError(f"{str(given)[:60]} is no step: its arguments are no numbers")
    at_most = MOST_KEPT if given[0] == "more" else 1
    if not 0 <= given[1] <= at_most or (given[0] == "close" and given[2] not in (0, 1)):
        raise ValueError(f"{str(given)[:60]} is no step: there is no such pipe or end")
    if given[0] not in ("size", "pipe") and any(
        not 0 <= number <= most for number, most in zip(given[2:], _MOST.get(given[0], (1 << 40,)), strict=False)
    ):
        raise ValueError(f"{str(given)[:60]} is no step: a number is out of range")
    if abs(given[-1]) >= 1 << 63:
        raise ValueError(f"{str(given)[:60]} is no step: a number is out of range")
    return tuple(given)


def _answer(given: object) -> Answer:
    if type(given) is not list or len(given) != 10 or any(type(number) is not int for number in given):
        raise ValueError(f"{str(given)[:60]} is no answer of ten numbers")
    return given
