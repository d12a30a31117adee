"""Write the table of the gallery: for each published patch what its author measured, and what the model gives.

python -m benchmarks.patches_table > docs/patches_table.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coalloc.patches import PATCHES, Patch, Predicted, run_patches
from coalloc.patches.gallery import summary


def rows(patch: Patch, outcome: Predicted) -> Iterator[str]:
    """Yield the rows of a patch."""
    for number, cells in enumerate(summary(outcome)):
        yield f"| {patch.name if number == 0 else ''} | {' | '.join(cells)} |"


def table(outcomes: Iterable[tuple[Patch, Predicted]]) -> Iterator[str]:
    """Yield the lines of the page."""
    outcomes = list(outcomes)
    yield "| patch | what | published | model | off |"
    yield "|---|---|---:|---:|---:|"
    for patch, outcome in outcomes:
        yield from rows(patch, outcome)
    yield ""
    for patch, outcome in outcomes:
        yield f"**{patch.name}: {patch.title}.**  {patch.source}."
        yield from outcome.findings
        if patch.lacks:
            yield f"*The model lacks:* {patch.lacks}"
        yield ""


def main() -> None:
    """Print the table, and what the model found and lacks."""
    print("\n".join(table(run_patches(PATCHES.values()).rows)))


if __name__ == "__main__":
    main()
