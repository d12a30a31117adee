"""`sweep`: replay programs in every setting of a grid, on any executor; equal settings give equal rows whoever runs them.

The settings are cut into batches of plain data.  Settings of one load stand together, so that copies of a program are made once
for a batch.  A setting that cannot be made or replayed is a :class:`Failure` with its reason; the others go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from coalloc._html import table
from coalloc._imports import needs_extra
from coalloc.errors import CoallocError, InvalidRequestError, message
from coalloc.experiments.settings import Setting, design_of
from coalloc.pipes.states import STATES
from coalloc.vm.costs import COSTS, CostModel
from coalloc.workload.figures import design_figures
from coalloc.workload.overlay import overlay
from coalloc.workload.program import PipeProgram, Program
from coalloc.workload.replay import replay
from coalloc.workload.textformat import dumps

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Failure", "Figure", "Load", "SweepRow", "Sweep", "faults_of", "key_of", "sweep"]

Figure = int | float | None
"""The value of a figure; None where it is not known."""

_BATCHES: Final = 200
"""About so many batches are made: many enough for a pool to be busy to the end, few enough to cost nothing."""


@attrs.frozen
class Load:
    """A program with the beginning of its SHA-256; two are equal if these are."""

    digest: str
    program: Program = attrs.field(eq=False, repr=False)

    @classmethod
    def of(cls, program: Program) -> Load:
        """Return the load of a program."""
        return cls(_digest(dumps(program).encode()), program)


_FRONT: Final = ("program", "program_sha256", "design")
"""The first columns of a row."""


_SHOWN: Final = ("map_ops", "faults", "peak_mapped", "peak_resident", "external_fragmentation", "estimated_cost_ns")
"""The figures that a notebook shows."""


@attrs.frozen
class SweepRow:
    """The figures of one setting.

    Args:
        program: The title of the program.
        digest: The beginning of the program's SHA-256.
        setting: The setting.
        figures: Each figure of ``design_figures`` by its name.
    """

    program: str
    digest: str
    setting: Setting
    figures: Mapping[str, Figure] = attrs.field(hash=False)

    def columns(self, none: str | None = None) -> dict[str, Any]:
        """Return the row as a flat record: the program, the setting with a column for each parameter, the figures.

        Args:
            none: What stands for a parameter that is None, where an empty field means that the design lacks it.
        """
        setting = self.setting.as_dict()
        parameters = setting.pop("parameters")
        design = setting.pop("design")
        taken = {*_FRONT, *setting, *self.figures}
        return {
            **dict(zip(_FRONT, (self.program, self.digest, design), strict=True)),
            **{
                f"set_{name}" if name in taken else name: none if value is None else value
                for name, value in parameters.items()
            },
            **setting,
            **self.figures,
        }


@attrs.frozen
class Failure:
    """A setting without figures: title and digest of the program, the setting, and the reason in words."""

    program: str
    digest: str
    setting: Setting
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "program": self.program,
            "program_sha256": self.digest,
            **self.setting.as_dict(),
            "reason": self.reason,
        }


@attrs.frozen
class Sweep:
    """The result of a sweep.

    Args:
        rows: A row for each setting and program, in the order of the programs, and for each in the order of the settings.
        failures: What has no row.
        costs: The prices of the estimates.
    """

    rows: tuple[SweepRow, ...]
    failures: tuple[Failure, ...]
    costs: CostModel

    def columns(self) -> list[str]:
        """Return the names of all columns, in an order that suits every row: parameters stand behind the design."""
        records = [row.columns() for row in self.rows]
        if not records:
            return []
        behind = list(records[0])
        behind = behind[behind.index("era") :]
        parameters = {name for record in records for name in record} - {*_FRONT, *behind}
        return [*_FRONT, *sorted(parameters), *behind]

    def _repr_html_(self) -> str:
        """Show a row for each setting in a notebook: the settings and the figures that choices are made by."""
        columns = [name for name in self.columns() if name != "program_sha256"]
        shown = columns[: columns.index("seed") + 1] if columns else []
        shown += [name for name in _SHOWN if name in columns]
        records = [row.columns() for row in self.rows]
        words = f"{len(self.rows):,} rows, {len(self.failures):,} failures"
        return table(shown, ([record.get(name) for name in shown] for record in records), words)

    def to_dataframe(self) -> DataFrame:
        """Return the rows as a data frame of pandas.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        with needs_extra("frame"):
            import pandas
        return pandas.DataFrame([row.columns() for row in self.rows], columns=self.columns())


def key_of(digest: str, setting: Setting) -> str:
    """Return the text by which a row is found again: equal for equal programs and settings, and for equal files of designs."""
    return json.dumps({"program": digest, "file": _file_digest(setting.target), **setting.as_dict()}, sort_keys=True)


def _file_digest(target: str) -> str | None:
    """Return the beginning of the SHA-256 of the file that a TARGET names; None if it names none."""
    file = Path(target.rpartition(":")[0])
    return _digest(file.read_bytes()) if file.suffix == ".py" and file.is_file() else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def sweep(
    settings: Iterable[Setting],
    programs: Sequence[Program],
    *,
    executor: Executor | None = None,
    costs: CostModel = COSTS["measured"],
    done: Mapping[str, Mapping[str, Figure]] | None = None,
    each: Callable[[SweepRow], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Replay programs in every setting.

    Args:
        settings: Such as a :class:`~coalloc.experiments.settings.Grid`.
        programs: The programs, at least one.
        executor: Who replays; None replays in this process.  Its processes must find the designs by their TARGETs.
        costs: The prices of the estimates.
        done: Figures that are known already, by :func:`key_of`; those settings are not replayed.
        each: Called with each new row as soon as it is there, in any order; so nothing is lost if the sweep is interrupted.
        progress: Called with the number of settings that are done, and of all.

    Raises:
        InvalidRequestError: If there are no settings or programs, a program stands twice, or copies of a space program are
            asked for.
        CoallocError: If a process of the executor was lost, and the executor does not replace it.

    Complexity:
        One replay for each setting and program, and one overlay for each load with copies and batch.

    >>> from coalloc.experiments.settings import Grid
    >>> from coalloc.workload.bundled import bundled_build
    >>> done = sweep(Grid(["coalescing"], {"arena_size": (1 << 20, 4 << 20)}), [bundled_build()])
    >>> [(row.setting.name, row.figures["map_ops"]) for row in done.rows]
    [('coalescing(arena_size=1M)', 1), ('coalescing(arena_size=4M)', 1)]
    """
    wanted = list(settings)
    if not wanted or not programs:
        raise InvalidRequestError("settings" if programs else "programs", "", "at least one is needed")
    loads = [Load.of(program) for program in programs]
    for number, load in enumerate(loads):
        if load in loads[:number]:
            raise InvalidRequestError("programs", load.program.title or load.digest, "stands twice")
    for setting in wanted:
        if setting.copies > 1 and not all(isinstance(program, PipeProgram) for program in programs):
            raise InvalidRequestError("copies", setting.copies, "only pipe programs can be run in copies")
    known = done or {}
    results: dict[tuple[int, int], Mapping[str, Figure] | str] = {}
    todo: list[tuple[int, int]] = []
    faults = faults_of(wanted)
    for number, load in enumerate(loads):
        for index, setting in enumerate(wanted):
            if faults[index]:
                results[number, index] = faults[index]
            elif (key := key_of(load.digest, setting)) in known:
                results[number, index] = known[key]
            else:
                todo.append((number, index))
    total = len(loads) * len(wanted)

    def keep(batch: Sequence[tuple[int, int]], values: Iterable[Mapping[str, Figure] | str]) -> None:
        for (number, index), value in zip(batch, values, strict=True):
            results[number, index] = value
            if each is not None and not isinstance(value, str):
                each(SweepRow(programs[number].title, loads[number].digest, wanted[index], value))
        if progress is not None:
            progress(len(results), total)

    if progress is not None:
        progress(len(results), total)
    batches = list(_batches(todo, wanted))
    if executor is None:
        try:
            for batch in batches:
                values = _replays(loads[batch[0][0]], [wanted[index] for _, index in batch], costs)
                for place, value in zip(batch, values, strict=True):
                    keep([place], [value])
        finally:
            _copied.cache_clear()
    else:
        futures = {
            executor.submit(_batch, loads[batch[0][0]], [wanted[index] for _, index in batch], costs): batch
            for batch in batches
        }
        _collect(futures, wanted, keep)
    ordered = [(place, results[place]) for place in sorted(results)]
    return Sweep(
        tuple(
            SweepRow(programs[number].title, loads[number].digest, wanted[index], value)
            for (number, index), value in ordered
            if not isinstance(value, str)
        ),
        tuple(
            Failure(programs[number].title, loads[number].digest, wanted[index], value)
            for (number, index), value in ordered
            if isinstance(value, str)
        ),
        costs,
    )


_Results = list[dict[str, Figure] | str]
_NAMED: Final = 4
"""The most settings that an error of an executor names."""


def _collect(
    futures: Mapping[Future[_Results], list[tuple[int, int]]],
    settings: Sequence[Setting],
    keep: Callable[[list[tuple[int, int]], _Results], None],
) -> None:
    """Keep the results of batches as they come; whatever ends this early, no batch is begun afterwards.

    Raises:
        CoallocError: If the executor fails, as when one of its processes is killed.
    """
    waiting = set(futures)
    try:
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                if _error_of(future) is None:  # what is done is kept before an error ends this
                    keep(futures[future], future.result())
            if failed := [future for future in futures if future in finished and _error_of(future) is not None]:
                error = _error_of(failed[0])
                if isinstance(error, KeyboardInterrupt | CoallocError):
                    raise error
                names = [settings[index].name for future in failed for _, index in futures[future]][:_NAMED]
                what = f"the executor failed, perhaps in {' or '.join(dict.fromkeys(names))}"
                raise CoallocError(f"{what}: {type(error).__name__}: {error}") from error
    finally:
        for future in waiting:
            future.cancel()


def _error_of(future: Future[_Results]) -> BaseException | None:
    return CancelledError() if future.cancelled() else future.exception()


def faults_of(settings: Iterable[Setting]) -> list[str]:
    """Return why each setting cannot be made; nothing for one that can."""
    known: dict[tuple[str, str, int], str] = {}
    faults = []
    for setting in settings:
        what = (setting.name, setting.era, setting.limit)
        if what not in known:
            try:
                design_of(setting).build(STATES[setting.era], setting.limit)
            except (Exception, SystemExit) as error:  # a stranger's factory raises what it likes
                known[what] = _reason(error)
            else:
                known[what] = ""
        faults.append(known[what])
    return faults


def _reason(error: BaseException) -> str:
    """Return an error as one line."""
    what = "" if isinstance(error, CoallocError) else f"{type(error).__name__}: "
    return message(" ".join(f"{what}{error}".split()))


def _batches(todo: Sequence[tuple[int, int]], settings: Sequence[Setting]) -> Iterator[list[tuple[int, int]]]:
    """Cut the numbers of programs and settings into batches, each of one load."""

    def load_of(place: tuple[int, int]) -> tuple[int, int, int, int]:
        setting = settings[place[1]]
        return place[0], setting.copies, -1 if setting.spread is None else setting.spread, setting.seed

    most = max(1, len(todo) // _BATCHES)
    for _, group in groupby(sorted(todo, key=load_of), load_of):
        places = list(group)
        yield from (places[at : at + most] for at in range(0, len(places), most))


@lru_cache(maxsize=1)
def _copied(load: Load, copies: int, spread: int | None, seed: int) -> Program:
    """Return copies of a program at once; those that were made last are kept for the next batch."""
    program = load.program
    assert isinstance(program, PipeProgram)  # it was asked before
    return overlay(program, copies, program.facts().duration if spread is None else spread, seed)


def _batch(load: Load, settings: list[Setting], costs: CostModel) -> list[dict[str, Figure] | str]:
    """Replay a program in some settings: the work of one call of an executor."""
    return list(_replays(load, settings, costs))


def _replays(load: Load, settings: Iterable[Setting], costs: CostModel) -> Iterator[dict[str, Figure] | str]:
    """Yield the figures of each setting, or why there are none."""
    for setting in settings:
        try:
            program = load.program
            if setting.copies > 1:
                program = _copied(load, setting.copies, setting.spread, setting.seed)
            outcome = replay(program, design_of(setting), era=STATES[setting.era], limit=setting.limit)
        except (Exception, SystemExit) as error:
            yield _reason(error)
        else:
            yield design_figures(outcome, costs)
