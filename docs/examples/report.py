"""Tables and a picture of a comparison, as `coalloc compare` makes them."""

import tempfile
from pathlib import Path

from coalloc import COSTS, DESIGNS, ERAS, MiB, bundled_build, replay
from coalloc.report import comparison_rows, design_figures, save_comparison, states_table

build = bundled_build()
designs = [DESIGNS["per-pipe"], DESIGNS["coalescing"]]
outcomes = [replay(build, design, era=ERAS["2006"], limit=64 * MiB) for design in designs]

for row in comparison_rows(build, outcomes, COSTS["measured"]):
    if row.label in ("map operations", "page faults", "peak mapped bytes"):
        print(f"{row.label:18} {row.values[0]:>10} {row.values[1]:>10}   ratio {row.ratios[1]}")
print("ipis:", [design_figures(outcome, COSTS["measured"])["ipis"] for outcome in outcomes])

with tempfile.TemporaryDirectory() as folder:
    picture = Path(folder, "comparison.svg")
    save_comparison(outcomes, "the build", picture)
    print(picture.read_text(encoding="utf-8").splitlines()[0])

print(states_table([ERAS["2004-01"], ERAS["current"]]))
