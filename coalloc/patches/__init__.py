"""Published changes of pipe code, as data: before, after, load, what was published, and what the model gives.

To add a patch, add a module that lists it in ``OFFERED`` (:mod:`coalloc.patches.gallery`).
"""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.patches.bench import CELLS, Cell, linux_state, pipe_bench, pipe_bench_gains, prices
    from coalloc.patches.change import changed
    from coalloc.patches.gallery import PATCHES, Gallery, find_patches, run_patches
    from coalloc.patches.jobserver import Jobserver, run_jobserver
    from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.patches.change": "changed",
            "coalloc.patches.gallery": "PATCHES Gallery find_patches run_patches",
            "coalloc.patches.jobserver": "Jobserver run_jobserver",
            "coalloc.patches.patch": "Constant Figure Predicted Patch change_of",
            "coalloc.patches.bench": "CELLS Cell linux_state pipe_bench pipe_bench_gains prices",
        },
    )

__all__ = [
    "CELLS",
    "PATCHES",
    "Cell",
    "Constant",
    "Figure",
    "Gallery",
    "Jobserver",
    "Predicted",
    "Patch",
    "change_of",
    "changed",
    "find_patches",
    "linux_state",
    "pipe_bench",
    "pipe_bench_gains",
    "prices",
    "run_jobserver",
    "run_patches",
]
