"""Prototype a patch to January 2004: keep outgrown tables, back only the forward half, carve from arenas."""

import attrs

from coalloc import DESIGNS, ERAS, CoalescingSpace, KernelMap, KernelState, MiB, Space, bundled_build, overlay, replay
from coalloc.kernel import OldTable
from coalloc.pipes import Backing, Design, Growth
from coalloc.scenarios import TESTS, run_mail, run_test
from coalloc.testing import check_space


# 1. The patch: what changes is data, and one design.
def arenas(_state: KernelState, kernel: KernelMap, limit: int) -> Space:
    """Carve buffers from arenas of 1 MiB."""
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=MiB)


before = ERAS["2004-01"]
naive = attrs.evolve(before, reverse=Backing.NONE)
naive = naive.with_around(fd=attrs.evolve(before.surroundings.fd, old_table=OldTable.KEPT))
carved = Design("arenas of 1 MiB", "carved from arenas of 1 MiB, best fit", arenas)
per_pipe = DESIGNS["per-pipe"]


# 2. FreeBSD's own tests: does it still do what pipes do?
def failures(state: KernelState) -> dict[str, str]:
    """Return the tests that fail, and why."""
    results = [run_test(test, state, carved, times=100 if test.times else None) for test in TESTS.values()]
    return {result.test: result.reason for result in results if not result.passed}


print("before:", *failures(before))
print("naive:", *(f"{test} ({reason})" for test, reason in failures(naive).items()))
# The reverse half is not backed before the first write, so a write must be able to back it, and select must know.
patched = attrs.evolve(naive, growth=Growth.LADDER, polls_unbacked=True)
print("patched:", *failures(patched))

# 3. The kit: does the allocator keep what it declares?
report = check_space(lambda source, *, kva_limit: arenas(before, source, kva_limit), examples=20, seconds=1)
print("the kit says:", "conforms" if report.conforms else "broken")

# 4. The mail's run: is the reversal gone, and is anything left?
for state, design in ((before, per_pipe), (patched, carved)):
    mail = run_mail(state, design, pagers=2, pipers=2, maxpipekva=16 * MiB)
    pipes = sum(piper.pipes for piper in mail.pipers)
    print(
        f"{design.name}: reversal {mail.reversal_at}, {pipes} pipes, pipekva {mail.after['kern.ipc.pipekva']} at the end"
    )

# 5. A real load, ten times at once: what does it cost?
program = overlay(bundled_build(), 10, 0, seed=0)
for state, design in ((before, per_pipe), (patched, carved)):
    outcome = replay(program, design, era=state, limit=16 * MiB)
    made = outcome.map
    print(
        f"{design.name}: {made.map_ops:,} map operations, {made.tlb_shootdowns:,} shoot-downs, "
        f"at most {made.peak_mapped:,} bytes mapped"
    )
