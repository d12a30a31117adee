"""An idea: let a write take up to 16 pages before the mutex, enough for 64 KiB, and not 8 as Linux 7.2 does."""

from collections.abc import Callable

import attrs

from coalloc.patches import CELLS, Figure, Patch, Predicted, linux_state, pipe_bench_gains, prices

BEFORE = linux_state("linux-7.2")
AFTER = attrs.evolve(BEFORE, name="sixteen ahead", pages_ahead=16)
COPY_NS = 1052  # as A10 has it


def run(tell: Callable[[str], None]) -> Predicted:
    """Run the load of A10 before and after."""
    tell("nine cells, before and after")
    gains = pipe_bench_gains(BEFORE, AFTER, prices(COPY_NS))
    return Predicted(
        tuple(
            Figure(f"W={writers} R={readers}: throughput", gain, None, "%", no_change=0)
            for (writers, readers), gain in zip(CELLS, gains, strict=True)
        )
    )


SIXTEEN = Patch(
    name="X1",
    title="a write takes up to 16 pages before the mutex",
    source="an idea",
    before=BEFORE,
    after=AFTER,
    load="pipe_bench, as A10",
    published="nothing yet",
    run=run,
)

if __name__ == "__main__":
    from coalloc.patches import run_patches

    print(run_patches([SIXTEEN]).text())
