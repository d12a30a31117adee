"""What helps to choose a design: sweeps over settings, the Pareto front, and the least that any design could need."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.experiments.bounds import Optimum, optimum
    from coalloc.experiments.clusters import cluster
    from coalloc.experiments.journal import Journal, write_rows
    from coalloc.experiments.packing import Life, greedy, height, lives_of, lower_bound, misplaced
    from coalloc.experiments.pareto import Choice, Preference, choose, front, parse_preference
    from coalloc.experiments.regrets import Regret, regret, robson_bound
    from coalloc.experiments.settings import Grid, Setting, read_vary
    from coalloc.experiments.sweeps import Failure, Sweep, SweepRow, sweep
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.experiments.bounds": "Optimum optimum",
            "coalloc.experiments.clusters": "cluster",
            "coalloc.experiments.journal": "Journal write_rows",
            "coalloc.experiments.packing": "Life greedy height lives_of lower_bound misplaced",
            "coalloc.experiments.pareto": "Choice Preference choose front parse_preference",
            "coalloc.experiments.regrets": "Regret regret robson_bound",
            "coalloc.experiments.settings": "Grid Setting read_vary",
            "coalloc.experiments.sweeps": "Failure SweepRow Sweep sweep",
        },
    )

__all__ = [
    "Choice",
    "Failure",
    "Grid",
    "Journal",
    "Life",
    "Optimum",
    "Preference",
    "Regret",
    "SweepRow",
    "Setting",
    "Sweep",
    "choose",
    "cluster",
    "front",
    "greedy",
    "height",
    "lives_of",
    "lower_bound",
    "misplaced",
    "optimum",
    "parse_preference",
    "read_vary",
    "regret",
    "robson_bound",
    "sweep",
    "write_rows",
]
