"""Lazy backing: January 2004, but each half of a pipe gets its buffer at the first write to it."""

import attrs

from coalloc import DESIGNS, ERAS, MiB, bundled_build, replay
from coalloc.pipes import Backing
from coalloc.scenarios import TESTS, run_test

today = ERAS["2004-01"]
lazy = attrs.evolve(today, name="lazy", title="January 2004, backed when written", polls_unbacked=True)
lazy = attrs.evolve(lazy, forward=Backing.FIRST_WRITE, reverse=Backing.FIRST_WRITE)

for state in (today, lazy):
    outcome = replay(bundled_build(), DESIGNS["per-pipe"], era=state, limit=64 * MiB)
    print(f"{state.name}: {outcome.map.map_ops} map operations, at most {outcome.peak_live} bytes of buffers")
    results = [run_test(test, state, times=100 if test.times else None) for test in TESTS.values()]
    print("  FreeBSD's tests that fail:", *(result.test for result in results if not result.passed))
