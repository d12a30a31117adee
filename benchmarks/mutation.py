"""Change the code in one small place at a time, and count the changes that the tests of its room notice.

python -m benchmarks.mutation [ROOM ...] [--sample N|all] [--seed N]

mutmut makes the changes (mutants), and runs for each the tests that reach the changed function, the fastest first, up to the
first failure or the time limit, which counts as noticed.  A room is copied with its tests to ``.mutation/ROOM``, where
``mutmut browse`` shows more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutation"
COPIED = ("coalloc", "tests", "benchmarks", "conftest.py", "pyproject.toml")
NOTICED = {"killed", "timeout", "segfault", "suspicious"}


class Room(NamedTuple):
    """Which files are changed, and which tests have to notice."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    "spec": Room(
        ("coalloc/spec/*.py",),
        (
            "tests/unit/test_spec.py",
            "tests/unit/test_spec_ends.py",
            "tests/unit/test_spec_joins.py",
            "tests/unit/test_spec_places.py",
            "tests/properties/test_spec.py",
        ),
    ),
    "map": Room(
        # not costs, which times foreign calls of the host: a change there can end the process, or what it runs on
        ("coalloc/vm/kernelmap.py", "coalloc/vm/fittree.py", "coalloc/vm/limit.py"),
        (
            "tests/unit/test_kernelmap.py",
            "tests/unit/test_kernelmap_model.py",
            "tests/unit/test_fittree.py",
            "tests/unit/test_limit.py",
            "tests/unit/test_failing_maps.py",
            "tests/unit/test_backing.py",
            "tests/behaviours/test_maps.py",
            "tests/bounds",
        ),
    ),
    "reference": Room(
        ("coalloc/space/coalescing.py", "coalloc/space/holes.py"),
        (
            "tests/unit/test_coalescing.py",
            "tests/unit/test_coalescing_model.py",
            "tests/unit/test_holes.py",
            "tests/unit/test_cells.py",
            "tests/unit/test_failing_maps.py",
            "tests/checker/test_space.py",
            "tests/checker/test_space_words.py",
            "tests/properties/test_placement.py",
            "tests/behaviours/test_vmem.py",
            "tests/bounds",
        ),
    ),
    "judge": Room(
        ("coalloc/testing/judge/*.py",),
        (
            "tests/checker/test_judge_parts.py",
            "tests/checker/test_judge_steps.py",
            "tests/checker/test_judge.py",
            "tests/checker/test_promises.py",
            "tests/checker/test_kit.py",
            "tests/planted/test_planted_bugs.py",
        ),
    ),
}


def prepare(name: str) -> Path:
    """Copy what a room needs, with mutmut told what to change and what to run."""
    work = WORK / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for part in COPIED:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, work / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, work / part)
    told = {
        "source_paths": ["coalloc"],
        "only_mutate": ROOMS[name].files,
        "also_copy": ["conftest.py", "benchmarks"],
        "pytest_add_cli_args_test_selection": ROOMS[name].tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist"],
        "timeout_constant": 10.0,
        "timeout_multiplier": 4.0,
    }
    with (work / "pyproject.toml").open("a") as project:
        print(
            "\n[tool.mutmut]", *(f"{key} = {json.dumps(value)}" for key, value in told.items()), sep="\n", file=project
        )
    return work


def mutants(work: Path, files: tuple[str, ...]) -> list[str]:
    """Return the names of all mutants of a room."""
    found = []
    with contextlib.chdir(work):  # mutmut reads its settings there
        maker = importlib.import_module("mutmut.mutation.file_mutation")  # by name: lint does without mutmut
        for path in sorted(path for pattern in files for path in Path().glob(pattern)):
            module = ".".join(path.with_suffix("").parts)
            names = maker.mutate_file_contents(str(path), path.read_text()).mutant_names
            found += [f"{module}.{mutant}" for mutant in names]
    return found


def mutmut(work: Path, *args: str) -> str:
    """Run a command of mutmut in a room's copy and return what it prints."""
    command = [sys.executable, "-m", "mutmut", *args]
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\nmutmut {args[0]} failed")
    return done.stdout


def measure(name: str, sample: str, seed: int) -> None:
    """Run the mutants of a room, or a random sample of them, and print its score and what survived."""
    work = prepare(name)
    names = mutants(work, ROOMS[name].files)
    chosen = names if sample == "all" else random.Random(seed).sample(names, min(int(sample), len(names)))
    began = time.perf_counter()
    mutmut(work, "run", "--max-children", "1", *chosen)
    spent = time.perf_counter() - began
    ends = dict(
        line.strip().split(": ", 1) for line in mutmut(work, "results", "--all", "true").splitlines() if ": " in line
    )
    counts = Counter(ends[mutant] for mutant in chosen)
    for mutant in chosen:
        if ends[mutant] not in NOTICED:
            print(mutmut(work, "show", mutant))
    noticed = sum(counts[end] for end in NOTICED)
    print(
        f"{name}: {noticed} of {len(chosen)} noticed ({100 * noticed / len(chosen):.0f} %), drawn from {len(names)}, "
        f"seed {seed}: {dict(counts)}; {spent / len(chosen):.1f} s each",
        flush=True,
    )


def main() -> None:
    """Measure the rooms that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; all if none is named")
    parser.add_argument("--sample", default="60", help="how many mutants of each room, or all")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    args = parser.parse_args()
    for name in args.rooms or ROOMS:
        measure(name, args.sample, args.seed)


if __name__ == "__main__":
    main()
