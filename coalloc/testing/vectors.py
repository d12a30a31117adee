"""Vectors: programs with the answers that a kernel's vmem gave, and how an allocator answers the same calls.

A file of vectors has a JSON object on each line:

* ``strategy``: ``M_FIRSTFIT`` or ``M_BESTFIT``; ``quantum`` and ``qcache_max`` in bytes;
* either ``spans``, pairs of base and size that are added by hand, where nothing can be imported; or ``import_quantum`` and
  ``limit``, where a source maps the lowest address that fits, from 0xc4000000 on, until so many bytes are mapped;
* ``steps``: a call, its answer (an address, null, or ``"ENOMEM"``), and what is told after it: the bytes of all spans, those in
  use (with what the caches keep), and what vmem_size(VMEM_MAXFREE) says of the largest segment;
* ``segments`` at the end: base, size, and ``busy`` or ``free``;
* ``mode``, a word that is not read.

The calls are ``["alloc", id, size]``, ``["xalloc", id, size, align, phase, nocross, minaddr, maxaddr]``, ``["free", id]`` and
``["drain"]``, which drains the caches.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from coalloc.contract import Fit
from coalloc.errors import ProgramError
from coalloc.extent import Extent
from coalloc.native import NativeFactory
from coalloc.space.protocol import Kind
from coalloc.testing.subject import MakeSpace, accepted
from coalloc.vm.kernelmap import KernelMap

__all__ = ["Disagreement", "Replayed", "Vector", "read_vectors", "replay_vectors"]

_FITS: Final = {"M_FIRSTFIT": Fit.INSTANT, "M_BESTFIT": Fit.CLASS_BEST}
_BASE: Final = 0xC400_0000
_CALLS: Final = {"alloc": 3, "xalloc": 8, "free": 2, "drain": 1}
_BOUNDS: Final = ("align", "phase", "nocross", "lo", "hi")
_OTHER_NAMES: Final = {"qcache_max": "quantum_cache", "import_quantum": "arena_size"}
_REFUSED: Final = "ENOMEM"


@attrs.frozen
class Told:
    """What is told after a call: its answer, and three sizes in bytes; a size is None where nobody tells it."""

    answer: int | str | None
    total: int | None = None
    in_use: int | None = None
    largest: int | None = None


@attrs.frozen
class Vector:
    """A program with the kernel's answers.

    Args:
        number: The number of its line, from 1.
        strategy: The fit.
        quantum: Bytes.
        qcache_max: Bytes of the largest size that is cached.
        spans: Base and size of each span that is added; none where spans are imported.
        import_quantum: Bytes; 0 where nothing is imported.
        limit: The most bytes that are imported.
        steps: Calls, and what the kernel told after each.
        segments: Base, size and kind of each segment at the end; None where it is not told.
        unread: The names of what else its line has.
    """

    number: int
    strategy: Fit
    quantum: int
    qcache_max: int
    spans: tuple[tuple[int, int], ...]
    import_quantum: int
    limit: int
    steps: tuple[tuple[tuple[Any, ...], Told], ...]
    segments: tuple[tuple[int, int, str], ...] | None = None
    unread: tuple[str, ...] = ()

    def ended_at(self, step: int, how: str) -> Replayed:
        """Return the result of a run that has ended in a step.

        Args:
            step: Its number.
            how: How it has ended, in words.
        """
        call, told = self.steps[step - 1]
        differs = Disagreement(self, step, _words(call), "answer", _shown("answer", told.answer), how)
        return Replayed(1, step, (differs,), {})

    def __str__(self) -> str:
        fit = next(name for name, fit in _FITS.items() if fit is self.strategy)
        cache = f", caches up to {self.qcache_max}" if self.qcache_max else ""
        spans = f"{len(self.spans)} span{'' if len(self.spans) == 1 else 's'}"
        where = spans if self.spans else f"imports of {self.import_quantum}, limit {self.limit}"
        return f"program {self.number} ({fit}, {where}{cache})"


def read_vectors(lines: Iterable[bytes], name: str | None = None) -> list[Vector]:
    """Read vectors.

    Args:
        lines: The lines of a file; an empty one is passed over.
        name: The name of the file, for errors.

    Raises:
        ProgramError: If a line is no vector; the error names it.
    """
    vectors = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            raise ProgramError("is no JSON", name, number) from None
        try:
            vectors.append(_vector(number, given))
        except ValueError as error:
            raise ProgramError(f"is no vector: {error}", name, number) from None
    if not vectors:
        raise ProgramError("has no vectors", name)
    return vectors


_ALWAYS: Final = ("strategy", "quantum", "qcache_max", "steps")
_EITHER: Final = (("spans",), ("import_quantum", "limit"))


def _vector(number: int, given: Any) -> Vector:
    if type(given) is not dict:
        raise ValueError("it is no object")
    ours = next((names for names in _EITHER if names[0] in given), ("spans", "or import_quantum"))
    if missing := [name for name in (*_ALWAYS, *ours) if name not in given]:
        raise ValueError(f"it lacks {' '.join(missing)}")
    strategy = given["strategy"]
    if strategy not in _FITS:
        raise ValueError(f"the strategy {strategy!r} is none of {', '.join(_FITS)}")
    rows = _rows("spans", given["spans"], 2) if "spans" in given else []
    spans = tuple((_size(base, 0), _size(size)) for base, size in rows)
    steps = tuple(_step(*row) for row in _rows("steps", given["steps"], 2, 5))
    _require_ids(steps)
    segments = given.get("segments")
    return Vector(
        number,
        _FITS[strategy],
        _size(given["quantum"]),
        _size(given["qcache_max"], 0),
        spans,
        0 if spans else _size(given["import_quantum"]),
        sum(size for _, size in spans) if spans else _size(given["limit"]),
        steps,
        None if segments is None else tuple((row[0], row[1], row[2]) for row in _rows("segments", segments, 3)),
        tuple(sorted(given.keys() - {*_ALWAYS, *ours, "segments", "mode"})),
    )


def _rows(name: str, given: Any, *lengths: int) -> list[list[Any]]:
    """Return a list of lists, of one of these lengths each; only segments may be none."""
    if type(given) is not list or not (given or name == "segments"):
        raise ValueError(f"{name} is no list of lists")
    for row in given:
        if type(row) is not list or len(row) not in lengths:
            raise ValueError(f"{name} has {str(row)[:40]}, which is no list of {' or '.join(map(str, lengths))}")
    return given


def _require_ids(steps: tuple[tuple[tuple[Any, ...], Told], ...]) -> None:
    """Require that each ID is given once, and freed while it is live.

    Raises:
        ValueError: If one is not.
    """
    given, live = set(), set()
    for number, (call, told) in enumerate(steps, 1):
        if call[0] == "free" and call[1] not in live:
            raise ValueError(f"step {number} frees {call[1]}, which is not live")
        if call[0] in ("alloc", "xalloc"):
            if call[1] in given:
                raise ValueError(f"step {number} gives the ID {call[1]} once more")
            given.add(call[1])
            if told.answer != _REFUSED:
                live.add(call[1])
        elif call[0] == "free":
            live.remove(call[1])


def _step(call: Any, answer: Any, *sizes: Any) -> tuple[tuple[Any, ...], Told]:
    if type(call) is not list or not call or type(call[0]) is not str or _CALLS.get(call[0]) != len(call):
        raise ValueError(f"{str(call)[:40]} is no call; there are {', '.join(_CALLS)}")
    for argument in call[1:]:
        _size(argument, 0)
    asks = call[0] in ("alloc", "xalloc")
    if answer != _REFUSED and (answer is None) is asks:
        raise ValueError(f"the answer to {call[0]} cannot be {answer!r}")
    if answer is not None and answer != _REFUSED:
        _size(answer, 0)
    return tuple(call), Told(answer, *(size if size is None else _size(size, 0) for size in sizes))


def _size(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value < 2**64:
        raise ValueError(f"{str(value)[:40]} is no number of bytes in {least} .. 2**64 - 1")
    return value


@attrs.frozen
class Disagreement:
    """The first step of a vector at which an allocator tells something else than the kernel did.

    Args:
        vector: The program.
        step: The number of the step, from 1; one more than there are for the segments at the end.
        call: The call.
        what: What differs: ``answer``, ``total``, ``in_use``, ``largest`` or ``segments``.
        kernel: What the kernel told.
        here: What the allocator tells.
    """

    vector: Vector
    step: int
    call: str
    what: str
    kernel: str
    here: str


@attrs.frozen
class Replayed:
    """How an allocator answers vectors.

    Args:
        programs: How many programs were run.
        steps: How many of their steps, up to the first that disagrees.
        disagreements: One for each program that disagrees.
        not_run: Why programs were not run, and how many.
        not_compared: What was not compared, since the allocator does not tell it.
    """

    programs: int
    steps: int
    disagreements: tuple[Disagreement, ...]
    not_run: dict[str, int]
    not_compared: tuple[str, ...] = ()

    def joined(self, later: Replayed) -> Replayed:
        """Return the result of these programs and of later ones."""
        return Replayed(
            self.programs + later.programs,
            self.steps + later.steps,
            self.disagreements + later.disagreements,
            dict(Counter(self.not_run) + Counter(later.not_run)),
            tuple(sorted({*self.not_compared, *later.not_compared})),
        )

    @property
    def agrees(self) -> bool:
        """Whether programs were run, and none disagrees."""
        return self.programs > 0 and not self.disagreements


class _CannotBeSetError(Exception):
    """An allocator does not take a setting that a vector needs."""


def replay_vectors(
    make_space: MakeSpace, vectors: Iterable[Vector], *, before: Callable[[int], None] = lambda _step: None
) -> Replayed:
    """Make the calls of vectors on an allocator.

    Args:
        make_space: A factory.  It gets the settings under the names ``strategy``, ``quantum``, ``qcache_max`` (or
            ``quantum_cache``) and ``import_quantum`` (or ``arena_size``), as far as it takes them; one in C gets them in the
            text for its ``open``.  A program is not run where a setting that it needs is not taken.
        vectors: The vectors.
        before: Called with the number of a step before it is made.
    """
    programs = steps = 0
    found: list[Disagreement] = []
    not_run: Counter[str] = Counter()
    not_compared: set[str] = set()
    for vector in vectors:
        try:
            space = _made(make_space, vector)
        except _CannotBeSetError as error:
            not_run[str(error)] += 1
            continue
        except Exception as error:
            not_run[f"it cannot be made so: {type(error).__name__}: {error}"] += 1
            continue
        programs += 1
        done, differs = _replay(space, vector, before)
        steps += done
        if differs is not None:
            found.append(differs)
        if not callable(getattr(space, "stats", None)):
            not_compared.add("sizes (it has no stats)")
        if not callable(getattr(space, "segments", None)):
            not_compared.add("segments (it does not show them)")
    return Replayed(programs, steps, tuple(found), dict(not_run), tuple(sorted(not_compared)))


def _made(make_space: MakeSpace, vector: Vector) -> Any:
    """Make an allocator as a vector needs it.

    Raises:
        _CannotBeSetError: If it does not take a setting.
    """
    source = KernelMap(base=_BASE)
    settings: dict[str, Any] = {
        "strategy": vector.strategy, "quantum": vector.quantum, "qcache_max": vector.qcache_max,
    }  # fmt: skip
    if vector.import_quantum:
        settings["import_quantum"] = vector.import_quantum
    if isinstance(make_space, NativeFactory):
        if vector.spans:
            raise _CannotBeSetError("an allocator in C has no function to add a span")
        told = settings | {"strategy": next(name for name, fit in _FITS.items() if fit is vector.strategy)}
        text = ",".join(f"{name}={value}" for name, value in told.items() if name != "quantum")
        return make_space(source, kva_limit=vector.limit, quantum=vector.quantum, options=text)
    names = accepted(make_space)
    keywords: dict[str, Any] = {"kva_limit": vector.limit} if "kva_limit" in names else {}
    left: dict[str, Any] = {}
    for name, value in settings.items():
        taken = next((each for each in (name, _OTHER_NAMES.get(name)) if each in names), None)
        (left if taken is None else keywords)[taken or name] = value
    space = make_space(source, **keywords)
    for name, value in left.items():
        if name == "strategy" and getattr(getattr(space, "contract", None), "fit", None) is value:
            continue
        if name == "quantum" and getattr(space, "quantum", None) == value:
            continue
        if name != "qcache_max" or value:
            raise _CannotBeSetError(f"it takes no {name}")
    for base, size in vector.spans:
        if not callable(getattr(space, "add", None)):
            raise _CannotBeSetError("it has no add(), which adds a span")
        space.add(Extent(base, size))
    return space


def _replay(space: Any, vector: Vector, before: Callable[[int], None]) -> tuple[int, Disagreement | None]:
    """Make the calls until something is told otherwise; return how many were made, and what that is."""
    places: dict[int, int] = {}
    for number, (call, kernel) in enumerate(vector.steps, 1):
        before(number)
        answer = _answer(space, places, call)
        here = _told(space, answer)
        words = _words(call)
        for name in ("answer", "total", "in_use", "largest"):
            theirs, ours = getattr(kernel, name), getattr(here, name)
            if theirs != ours and (name == "answer" or (theirs is not None and ours is not None)):
                return number, Disagreement(vector, number, words, name, _shown(name, theirs), _shown(name, ours))
    last = len(vector.steps)
    if vector.segments is not None and callable(getattr(space, "segments", None)):
        shown = tuple((s.base, s.size, "free" if s.kind is Kind.FREE else "busy") for s in space.segments())
        if shown != vector.segments:
            pair = next(
                ((theirs, ours) for theirs, ours in zip(vector.segments, shown, strict=False) if theirs != ours),
                (f"{len(vector.segments)} segments", f"{len(shown)} segments"),
            )
            return last, Disagreement(vector, last + 1, "at the end", "segments", str(pair[0]), str(pair[1]))
    return last, None


def _answer(space: Any, places: dict[int, int], call: tuple[Any, ...]) -> int | str | None:
    """Make a call."""
    what, *numbers = call
    try:
        if what == "alloc":
            places[numbers[0]] = space.alloc(numbers[1])
            return places[numbers[0]]
        if what == "xalloc":
            places[numbers[0]] = space.xalloc(numbers[1], **dict(zip(_BOUNDS, numbers[2:], strict=True)))
            return places[numbers[0]]
        if what == "free":
            space.free(places.pop(numbers[0]))
        else:
            getattr(space, "drain", space.reclaim)()
    except MemoryError:
        return _REFUSED
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _told(space: Any, answer: int | str | None) -> Told:
    if not callable(getattr(space, "stats", None)):
        return Told(answer)
    stats = space.stats()
    return Told(answer, stats.mapped, stats.live + stats.cached, stats.largest_hole)


def _words(call: tuple[Any, ...]) -> str:
    return " ".join(map(str, call))


def _shown(name: str, value: int | str | None) -> str:
    if value is None:
        return "nothing"
    return f"{value:#x}" if name == "answer" and isinstance(value, int) else str(value)
