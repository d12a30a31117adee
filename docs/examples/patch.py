"""Prototype a patch to January 2004: keep outgrown tables, back only the forward half, carve from arenas."""

import attrs

from coalloc import CoalescingSpace, KernelMap, MiB, Space, bundled_build, overlay, replay
from coalloc.kernel import CONFIGS, KernelConfig, OldTable
from coalloc.pipes import DESIGNS, Backing, Design, Era, Growth
from coalloc.scenarios import TESTS, run_mail, run_test
from coalloc.testing import check_space


# 1. The patch: what changes is data, and one design.
def arenas(_era: Era, kernel: KernelMap, limit: int) -> Space:
    """Carve buffers from arenas of 1 MiB."""
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=MiB)


before = CONFIGS["2004-01"]
naive = attrs.evolve(
    before,
    era=attrs.evolve(before.era, reverse=Backing.NONE),
    fd=attrs.evolve(before.fd, old_table=OldTable.KEPT),
)
carved = Design("arenas of 1 MiB", "carved from arenas of 1 MiB, best fit", arenas)
per_pipe = DESIGNS["per-pipe"]


# 2. FreeBSD's own tests: does it still do what pipes do?
def failures(config: KernelConfig) -> dict[str, str]:
    """Return the tests that fail, and why."""
    results = [run_test(test, config, carved, times=100 if test.times else None) for test in TESTS.values()]
    return {result.test: result.reason for result in results if not result.passed}


print("before:", *failures(before))
print("naive:", *(f"{test} ({reason})" for test, reason in failures(naive).items()))
# The reverse half is not backed before the first write, so a write must be able to back it, and select must know.
patched = attrs.evolve(naive, era=attrs.evolve(naive.era, growth=Growth.LADDER, polls_unbacked=True))
print("patched:", *failures(patched))

# 3. The kit: does the allocator keep what it declares?
report = check_space(lambda source, *, kva_limit: arenas(before.era, source, kva_limit), examples=20)
print("the kit says:", "conforms" if report.conforms else "broken")

# 4. The mail's run: is the reversal gone, and is anything left?
for config, design in ((before, per_pipe), (patched, carved)):
    mail = run_mail(config, design, pagers=2, pipers=2, maxpipekva=16 * MiB)
    pipes = sum(piper.pipes for piper in mail.pipers)
    print(
        f"{design.name}: reversal {mail.reversal_at}, {pipes} pipes, pipekva {mail.after['kern.ipc.pipekva']} at the end"
    )

# 5. A real load, ten times at once: what does it cost?
program = overlay(bundled_build(), 10, 0, seed=0)
for config, design in ((before, per_pipe), (patched, carved)):
    outcome = replay(program, design, era=config.era, limit=16 * MiB)
    made = outcome.map
    print(
        f"{design.name}: {made.map_ops:,} map operations, {made.tlb_shootdowns:,} shoot-downs, "
        f"at most {made.peak_mapped:,} bytes mapped"
    )
