"""Rows of a sweep on disk: a journal that loses no finished row, and the file that is written when all rows are there.

While a sweep runs, each row is a line of JSON in ``FILE.part``.  The first line says with which prices.  A line that was cut
off by a crash is left out.  When the sweep has ended, ``FILE`` is written whole, and the journal is removed.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Collection, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, Final, TypeGuard

from coalloc._imports import needs_extra
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.sweeps import Figure, Sweep, SweepRow, key_of
from coalloc.vm.costs import CostModel
from coalloc.workload.figures import LABELS

__all__ = ["SUFFIXES", "Journal", "write_rows"]


class Journal:
    """The rows that are there while a sweep runs.

    Args:
        path: Where the rows will be when the sweep has ended; its ending is one of ``SUFFIXES``.
        costs: The prices of the estimates.
        resume: Whether to go on with the journal of an interrupted sweep.

    Raises:
        InvalidRequestError: If the name has another ending or its folder does not exist; if there is a journal and
            ``resume`` is false, or none and it is true; or if the journal was made with other prices, or is none.
        MissingExtraError: If the package that writes such a file is not installed.
        OSError: If the journal cannot be read or written.
    """

    def __init__(self, path: str | PathLike[str], costs: CostModel, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        if self.path.suffix not in SUFFIXES:
            raise InvalidRequestError("output", fspath(path), f"the name must end in {', '.join(SUFFIXES)}")
        if not self.path.parent.is_dir() or self.path.is_dir():
            raise InvalidRequestError("output", fspath(path), "is a folder, or its folder does not exist")
        if self.path.suffix == ".parquet":
            with needs_extra("frame"):
                import pyarrow.parquet  # noqa: F401 (is it there?)
        if self.part.exists() and not resume:
            raise InvalidRequestError(
                "output",
                fspath(path),
                f"{self.part.name} has rows of an interrupted sweep; go on with --resume, or delete it",
            )
        if resume and not self.part.exists():
            raise InvalidRequestError(
                "--resume", fspath(path), f"there is no {self.part.name}, so nothing was interrupted"
            )
        with open(self.part, "ab"):  # can it be written?
            pass
        if not resume:
            self.part.unlink()
        header = {"prices": {event: price.ns for event, price in sorted(costs.prices.items())}}
        self.done: Mapping[str, Mapping[str, Figure]] = self._read(header) if resume else {}
        """The figures that are known already, by the key of the setting."""
        self._header = header
        self._resumes = resume
        self._file: IO[str] | None = None

    def _read(self, header: Mapping[str, object]) -> dict[str, dict[str, Figure]]:
        lines = self.part.read_text(encoding="utf-8", errors="replace").splitlines()
        known: dict[str, dict[str, Figure]] = {}
        for number, line in enumerate(lines):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if number == 0 and record != header:
                raise InvalidRequestError("--resume", str(self.part), "was made with other prices, or is no journal")
            if number and _is_row(record):
                known[record["key"]] = record["figures"]
        if not lines:
            raise InvalidRequestError("--resume", str(self.part), "is empty")
        return known

    def require_all(self, keys: Collection[str]) -> None:
        """Refuse to go on where the journal has rows that are none of these keys: they would be lost.

        Raises:
            InvalidRequestError: If there are any.
        """
        others = len(self.done.keys() - set(keys))
        if others:
            why = f"{self.part.name} has {others:,} rows of other settings, programs or versions of a design's file"
            raise InvalidRequestError("--resume", str(self.path), f"{why}; go on as it was begun, or delete it")

    def add(self, row: SweepRow) -> None:
        """Write one row; the journal begins with the first."""
        if self._file is None:
            self._file = open(self.part, "a" if self._resumes else "w", encoding="utf-8")  # noqa: SIM115 (closed by close())
            self._file.write("\n" if self._resumes else json.dumps(self._header) + "\n")  # the last line may be cut off
        self._file.write(json.dumps({"key": key_of(row.digest, row.setting), "figures": dict(row.figures)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the journal, and leave it for ``resume``."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self, result: Sweep) -> None:
        """Write the whole file, and remove the journal.

        Raises:
            OSError: If the file cannot be written; the journal stays.
        """
        self.close()
        write_rows(result, self.path)
        self.part.unlink(missing_ok=True)


def _is_row(record: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a line of a journal is whole: a key, and a number or None for every figure."""
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return False
    figures = record.get("figures")
    return (
        isinstance(figures, dict)
        and set(figures) == set(LABELS)
        and all(value is None or type(value) in (int, float) for value in figures.values())
    )


def write_rows(result: Sweep, path: str | PathLike[str]) -> None:
    """Write the rows of a sweep as CSV, JSON lines or Parquet, by the ending of the name; a file is there whole or not at all.

    Raises:
        InvalidRequestError: If the ending is none of ``SUFFIXES``.
        MissingExtraError: If Parquet is asked for, and pyarrow is not installed.
        OSError: If it cannot be written.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise InvalidRequestError("output", fspath(path), f"the name must end in {', '.join(SUFFIXES)}")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _WRITERS[target.suffix](result, unfinished)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _write_csv(result: Sweep, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, result.columns(), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.columns(none="none") for row in result.rows)


def _write_lines(result: Sweep, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row.columns()) + "\n" for row in result.rows)


def _write_parquet(result: Sweep, path: Path) -> None:
    with needs_extra("frame"):
        import pyarrow
        import pyarrow.parquet as parquet
    names = result.columns()
    records = [row.columns() for row in result.rows]
    values = {name: [record.get(name) for record in records] for name in names}
    for name, column in values.items():
        kinds = {type(value) for value in column if value is not None}
        if len(kinds) > 1 and kinds != {int, float}:  # a column has one type
            values[name] = [None if value is None else str(value) for value in column]
    try:
        parquet.write_table(pyarrow.table(values), path)
    except (pyarrow.ArrowException, OverflowError) as error:
        raise CoallocError(f"the rows cannot be written as Parquet: {error}") from error


_WRITERS: Final[Mapping[str, Callable[[Sweep, Path], None]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}
SUFFIXES: Final = tuple(_WRITERS)
"""The endings of the names under which rows can be written."""
