"""Check the allocators that strangers wrote, plainly and thoroughly, and print the table of docs/strangers.md.

    python -m benchmarks.strangers [--plain] [--programs FOLDER] [NAME...]

``--programs`` writes the shortest program of each faulty one for the tests, or, where that is none or very long, the name of
the check that finds it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import attrs

from coalloc.contract import Contract
from coalloc.contract_text import parse_contract
from coalloc.testing.check import Report, Ruling, Verdict
from coalloc.testing.isolate import crew
from coalloc.testing.on_targets import check_target
from coalloc.testing.steps import dumps

_MOST_STEPS = 1000
"""The steps of the longest program that is worth keeping."""
FOLDER = Path(__file__).parents[1] / "tests" / "strangers"


@attrs.frozen
class Row:
    """An allocator of a stranger: its file, its class, and the contract that its author promises."""

    file: str
    kind: str
    contract: Contract

    @property
    def faulty(self) -> bool:
        """Whether its author planted a fault."""
        return self.file.startswith("faulty/")

    @property
    def target(self) -> str:
        """The TARGET."""
        return f"{FOLDER / self.file}:{self.kind}"


def rows() -> list[Row]:
    """Return all allocators in the order of the list."""
    found = []
    for line in (FOLDER / "contracts.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            target, _, text = line.partition(" ")
            file, _, kind = target.partition(":")
            found.append(Row(file, kind, parse_contract("" if text == "-" else text)))
    return found


def first_found(report: Report) -> Verdict | None:
    """Return the verdict that tells of the fault: a broken property, or one that is suspect."""
    told = [v for v in report.verdicts if v.ruling is Ruling.BROKEN]
    told += [v for v in report.verdicts if v.ruling is Ruling.SUSPECT]
    return min(
        told, key=lambda v: (v.ruling is not Ruling.BROKEN, len(v.found.program.steps) if v.found else 0), default=None
    )


def main(arguments: list[str]) -> None:
    """Print the table."""
    plain_only = "--plain" in arguments
    programs = Path(arguments[arguments.index("--programs") + 1]) if "--programs" in arguments else None
    names = [name for name in arguments if not name.startswith("--") and name != str(programs)]
    print("| allocator | plain check | seconds | thorough check | found by | steps |\n|---|---|---|---|---|---|")
    counts: Counter[tuple[bool, bool, Ruling]] = Counter()
    for row in rows():
        if names and not any(name in row.file for name in names):
            continue
        words, told = [], None
        for thorough in (False,) if plain_only else (False, True):
            if thorough and told is not None:
                words.append(words[0])
                counts[row.faulty, True, told.ruling] += 1
                continue
            began = time.monotonic()
            with crew(2) as executor:
                report = check_target(
                    row.target, contract=row.contract, thorough=thorough, executor=executor, timeout=60
                )
            seconds = time.monotonic() - began
            told = first_found(report)
            if told is not None:
                counts[row.faulty, thorough, told.ruling] += 1
            words.append("conforms" if told is None else told.ruling.value)
            if not thorough:
                words.append(f"{seconds:.1f}")
        steps = len(told.found.program.steps) if told is not None and told.found is not None else "-"
        by = "-" if told is None else f"{told.property.name} {told.check or 'random programs'}"
        shown = [words[0], words[1], words[2] if len(words) > 2 else "-"]
        print(f"| `{Path(row.file).stem}` | {' | '.join(shown)} | {by} | {steps} |", flush=True)
        if programs is not None and told is not None:
            short = told.found is not None and len(told.found.program.steps) <= _MOST_STEPS
            text = dumps(told.found.program) if told.found is not None and short else f"check {told.check}\n"
            (programs / f"{Path(row.file).stem}.txt").write_text(text, encoding="utf-8")
    for faulty in (False, True):
        n = sum(row.faulty is faulty for row in rows())
        for thorough in (False,) if plain_only else (False, True):
            broken, suspect = (counts[faulty, thorough, ruling] for ruling in (Ruling.BROKEN, Ruling.SUSPECT))
            kinds = f"{n} {'faulty' if faulty else 'correct'}, {'thorough' if thorough else 'plain'} check"
            print(f"\n{kinds}: {broken} broken, {suspect} suspect")


if __name__ == "__main__":
    main(sys.argv[1:])
