"""B11 to B17 and B19: what happens when a buffer cannot be allocated."""

from __future__ import annotations

import errno

import pytest

from coalloc import ERAS, Era, KernelMap, Owner, PerPipeSpace, PipeError, PipeSystem
from coalloc.pipes.half import Half
from tests.behaviours.designs import MAKERS, PAGE, USER, close_all, fill, make

ALL_ERAS = pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
ALL_DESIGNS = pytest.mark.parametrize("design", MAKERS)
FULL, SMALL = 16384, 4096
EXCEEDED = "kern.ipc.maxpipekva exceeded; see tuning(7)"


def fragmented(era: Era, holes: int) -> PipeSystem:
    """Make a system whose map has only single free pages, far below the limit."""
    kernel = KernelMap(base=0, size=64 * PAGE)
    space = PerPipeSpace(kernel, kva_limit=64 * PAGE)
    bases = [space.alloc(PAGE) for _ in range(64)]
    for base in bases[: 2 * holes : 2]:
        space.free(base)
    return PipeSystem(space, era, maxpipekva=64 * PAGE)


@ALL_ERAS
def test_b11_where_16k_cannot_be_had_but_4k_can_the_half_gets_4k(era: Era) -> None:
    """From 2006 on a half falls back to 4 KiB and pipefragretry counts it; before, the call fails at once."""
    system = fragmented(era, 8)
    if era.retries_small:
        pair = system.pipe()
        assert pair.halves[0].size == SMALL
        assert system.pipefragretry == 1
        assert system.pipeallocfail == 0
        assert not system.console.lines
    else:
        with pytest.raises(PipeError):
            system.pipe()
        assert (system.pipefragretry, system.pipeallocfail) == (0, 1)
    system.check()


@ALL_DESIGNS
@ALL_ERAS
def test_b12_nothing_available_counts_and_prints_at_most_once_a_second(era: Era, design: str) -> None:
    """Each failure is counted, and the era's line is printed at most once a second."""
    system = make(era, design, m=1 << 18)
    fill(system)
    failed = system.pipeallocfail
    assert failed == 1
    for _ in range(100):
        system.clock.advance(30_000_000)
        if era.create_errno is None:
            system.pipe()
        else:
            with pytest.raises(PipeError):
                system.pipe()
    assert system.pipeallocfail == failed + 100
    if not era.map_failure_prints:  # in July 2003 the line is about maxpipes alone
        assert not system.console.lines
        return
    assert [(line.time // 10_000_000, line.text) for line in system.console.lines] == [
        (0, EXCEEDED),
        (102, EXCEEDED),
        (204, EXCEEDED),
    ]
    assert system.console.suppressed == 101 - 3


@ALL_DESIGNS
@ALL_ERAS
def test_b13_the_error_of_pipe_depends_on_the_era(era: Era, design: str) -> None:
    """pipe() fails with ENFILE, later ENOMEM; in 10.x it succeeds, and the first write fails until there is room."""
    system = make(era, design, m=1 << 18)
    pairs, error = fill(system)
    if era.name != "10.x":
        assert error.errno == (errno.ENFILE if era.name in ("2003-07", "2004-01") else errno.ENOMEM)
        assert system.counters().pipes_refused == 1
        return
    unbacked = pairs.pop()
    with pytest.raises(PipeError) as caught:
        unbacked.write(1, 10)
    assert caught.value.errno == errno.ENOMEM
    pairs[0].close(0)
    assert unbacked.write(1, 10) == 10
    assert unbacked.halves[0].size == SMALL


@ALL_ERAS
def test_b14_free_space_may_suffice_in_total_and_still_not_do(era: Era) -> None:
    """64 KiB that are free in single pages cannot hold a buffer of 16 KiB."""
    system = fragmented(era, 16)
    kernel_free = 64 * PAGE - system.space.stats().live
    assert kernel_free == 4 * FULL
    assert not system.get_buffer(_backed_half(system), FULL)
    assert system.piperesizefail == 1


def _backed_half(system: PipeSystem) -> Half:
    half = Half(Owner())
    assert system.get_buffer(half, SMALL)
    return half


@ALL_DESIGNS
def test_b15_today_a_user_hits_the_reserve_in_silence_and_root_goes_on(design: str) -> None:
    """A user who hits the reserve gets ENOMEM, no counter and no line; root can still use the reserve."""
    system = make("current", design, m=1 << 20)
    _, error = fill(system, USER)
    assert error.errno == errno.ENOMEM
    assert system.budget.kva_used <= (1 << 20) // 100 * 98
    assert (system.pipeallocfail, system.console.lines) == (0, [])
    assert system.pipe().halves[0].size == SMALL
    system.check()


@pytest.mark.parametrize("era", [era for era in ERAS.values() if not era.reserve_percent], ids=lambda era: era.name)
def test_b15_before_there_was_no_reserve(era: Era) -> None:
    """In an era without a reserve, a user gets as many pipes as root."""
    system, other = make(era, m=1 << 20), make(era, m=1 << 20)
    assert len(fill(system, USER)[0]) == len(fill(other)[0])


def test_b15_above_the_reserve_a_user_falls_back_to_4k_and_that_is_counted() -> None:
    """When the reserve forbids 16 KiB, a half without a buffer gets 4 KiB and pipefragretry counts it."""
    system = make("current", m=100 * PAGE)
    while system.budget.kva_used <= 45 * PAGE:
        system.pipe(USER)
    system.budget.add(45 * PAGE)
    half = Half(USER)
    assert system.get_buffer(half, FULL)
    assert (half.size, system.pipefragretry) == (SMALL, 1)


@ALL_DESIGNS
def test_b16_today_users_are_charged_and_every_failed_path_refunds(design: str) -> None:
    """A user above RLIMIT_PIPEBUF gets 4 KiB, then ENOMEM; failures and frees refund, and other users are unaffected."""
    system = make("current", design, m=1 << 20)
    user = Owner(1001, privileged=False, pipebuf_limit=FULL + 2 * SMALL + 5000)
    first = system.pipe(user)
    assert system.budget.users == {1001: FULL + SMALL}
    second = system.pipe(user)
    assert [half.size for half in second.halves] == [SMALL, SMALL]
    charged = system.budget.users[1001]
    with pytest.raises(PipeError) as caught:
        system.pipe(user)
    assert caught.value.errno == errno.ENOMEM
    assert system.budget.users == {1001: charged}
    assert (system.pipefragretry, system.pipeallocfail, system.console.lines) == (0, 0, [])
    first.write(1, 30000)
    assert first.halves[0].size == FULL
    assert system.budget.users == {1001: charged}
    system.pipe(Owner(7, privileged=False))
    second.close(0)
    second.close(1)
    assert system.budget.users[1001] == FULL + SMALL
    close_all(system)
    assert system.budget.users == {}
    system.check()


def test_b16_in_place_only_the_growth_is_charged() -> None:
    """A resize in place charges the user only for the growth, and a shrink refunds even when the reserve is reached."""
    system = make("current", "coalescing", m=1 << 20)
    system.resize_in_place = True
    pair = system.pipe(Owner(9, privileged=False, pipebuf_limit=40960))
    pair.write(1, 20000)
    assert system.budget.users == {9: 32768 + SMALL}
    pair.read(0, 20000)
    others = []
    while system.budget.reserve_allows(2 * SMALL, USER):
        others.append(system.pipe())
    pair.write(1, 1)
    assert system.budget.users[9] == 2 * SMALL
    system.check()


def test_b16_a_refusal_by_the_map_refunds_too() -> None:
    """A call that fails because the map is full, or for the reserve, leaves the users' charges as they were."""
    system = make("current", m=1 << 18)
    fill(system)
    charged = dict(system.budget.users)
    with pytest.raises(PipeError):
        system.pipe()
    assert system.budget.users == charged == {0: system.budget.kva_used}
    reserve = make("current", m=1 << 18)
    fill(reserve, USER)
    charged = dict(reserve.budget.users)
    with pytest.raises(PipeError):
        reserve.pipe(USER)
    assert reserve.budget.users == charged


@pytest.mark.parametrize("era", [era for era in ERAS.values() if not era.charges_users], ids=lambda era: era.name)
def test_b16_before_nobody_was_charged(era: Era) -> None:
    """In an era that charges nobody, a limit per user has no effect."""
    system = make(era)
    system.pipe(Owner(1001, privileged=False, pipebuf_limit=1))
    assert system.budget.users == {}


@ALL_DESIGNS
@ALL_ERAS
def test_b17_if_the_reverse_half_cannot_be_had_the_forward_buffer_is_given_back(era: Era, design: str) -> None:
    """A call that cannot get its reverse buffer frees the forward buffer and leaves kva_used as it was."""
    system = make(era, design, m=1 << 18, map_size=21 * PAGE)
    if era.reverse.name != "NONE":
        while (21 * PAGE - system.budget.kva_used) // PAGE > 1:
            if system.budget.kva_used + 8 * PAGE > 21 * PAGE:
                system.get_buffer(Half(Owner()), SMALL)
            else:
                system.pipe()
    before = system.budget.kva_used
    live = system.space.stats().live
    if era.reverse.name == "NONE":
        system.pipe()
        assert system.budget.kva_used == before + FULL
        return
    with pytest.raises(PipeError):
        system.pipe()
    assert system.budget.kva_used == before
    assert system.space.stats().live == live


@ALL_DESIGNS
@ALL_ERAS
def test_b19_ten_thousand_pipes_fail_cleanly(era: Era, design: str) -> None:
    """Ten thousand calls of pipe(), most of which may fail, break no invariant, and closing all frees everything."""
    system = make(era, design, m=8704000)
    created = 0
    for _ in range(10000):
        try:
            system.pipe()
            created += 1
        except PipeError:
            continue
    counters = system.counters()
    assert (counters.pipes_created, counters.pipes_created + counters.pipes_refused) == (created, 10000)
    system.check()
    system.space.check()
    close_all(system)
    system.space.reclaim()
    assert system.budget.kva_used == system.space.stats().mapped == 0


def test_the_limit_on_the_number_of_pipes_of_july_2003() -> None:
    """In July 2003 kern.ipc.maxpipes counts buffers: a further one is had up to one above it, then ENFILE and the old line."""
    kernel = KernelMap()
    system = PipeSystem(PerPipeSpace(kernel, kva_limit=1 << 30), ERAS["2003-07"], maxpipekva=1 << 20, maxpipes=10)
    pairs, error = fill(system)
    assert (len(pairs), error.errno, len(system.console.lines)) == (5, errno.ENFILE, 1)
    assert system.sysctl()["kern.ipc.maxpipes"] == 10
    assert system.sysctl()["kern.ipc.pipes"] == 10
    assert system.console.lines[0].text == "kern.maxpipes exceeded, please see tuning(7)."
    pairs[0].close(1)
    assert system.sysctl()["kern.ipc.pipes"] == 9
    odd = PipeSystem(PerPipeSpace(kernel, kva_limit=1 << 30), ERAS["2003-07"], maxpipekva=1 << 20, maxpipes=3)
    assert len(fill(odd)[0]) == 2
    odd.pairs[0].write(1, 20_000)  # nor does a buffer grow then
    assert odd.pairs[0].halves[0].size == FULL
    assert PipeSystem(PerPipeSpace(kernel, kva_limit=1), ERAS["2006"], maxpipekva=1, maxpipes=2).maxpipes is None
