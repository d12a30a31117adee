"""B39 to B46: the lock-order checker and the lock profiles, by the rules of each year."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from coalloc import ERAS, Era
from coalloc.kernel import (
    FIXES,
    GIANT,
    LAYOUTS,
    LOCK_PROFILING,
    MUTEX_PROFILING,
    RULES,
    Kernel,
    Lock,
    LockKind,
    LockProfile,
    OrderReport,
    Witness,
    WitnessRules,
)
from coalloc.kernel.process import Call, Process, Xint0x80_syscall

FILEDESC = Lock("filedesc structure", address=0xC6585138)
SX = Lock("user map", LockKind.SX, address=0x300)
PLAIN: list[list[str]] = []
ALL_RULES = pytest.mark.parametrize("rules", RULES.values(), ids=lambda rules: rules.name)


def take(witness: Witness, *locks: Lock) -> list[OrderReport]:
    """Take locks one after the other at lines 1, 2, ..., release them all, and return the reports."""
    before = len(witness.reports)
    for line, lock in enumerate(locks, start=1):
        witness.check_order(lock, "kern/x.c", line)
        witness.take(lock, "kern/x.c", line)
    for lock in reversed(locks):
        witness.release(lock)
    return witness.reports[before:]


# --- B39 to B41: the mail's report ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "header"),
    [
        ("2004", "lock order reversal"),
        ("2006", "lock order reversal: (Giant after non-sleepable)"),
        ("2008", "lock order reversal: (Giant after non-sleepable)"),
    ],
)
def test_b39_giant_under_a_descriptor_tables_mutex_is_reported_once(year: str, header: str) -> None:
    """The report names the lock held and then the lock wanted, each with its place, and is not repeated."""
    witness = Witness(RULES[year])
    witness.take(FILEDESC, "kern/kern_descrip.c", 1131)
    witness.check_order(GIANT, "../../vm/uma_core.c", 2048)
    witness.check_order(GIANT, "vm/uma_core.c", 2048)
    (report,) = witness.reports
    assert str(report).splitlines() == [
        header,
        " 1st 0xc6585138 filedesc structure (filedesc structure) @ kern/kern_descrip.c:1131",
        " 2nd 0xc0937960 Giant (Giant) @ vm/uma_core.c:2048",
    ]


def grown(config: Era, descriptors: int) -> tuple[Kernel, Process]:
    """Make a kernel and a process in it that has opened so many descriptors."""
    kernel = Kernel(config)
    process = kernel.fork()

    def opens() -> Call[None]:
        for _ in range(descriptors):
            yield from Xint0x80_syscall(process.open())

    kernel.machine.spawn("opens", opens())
    assert kernel.machine.run(record=False).findings == ()
    return kernel, process


@pytest.mark.parametrize(("layout", "first_large"), [("bitmap", 1024), ("bitmap-64", 512)])
def test_b40_the_reversal_comes_with_the_first_table_larger_than_a_page(layout: str, first_large: int) -> None:
    """The reversal comes when 1,024 descriptors of 5 bytes grow to 2,048, or 512 of 9 bytes to 1,024, and only then."""
    import attrs

    old = ERAS["2004-01"]
    config = old.with_around(fd=attrs.evolve(LAYOUTS[layout], old_table=old.surroundings.fd.old_table))
    kernel, process = grown(config, first_large)
    assert kernel.witness.reports == []
    kernel, process = grown(config, first_large + 1)
    (report,) = kernel.witness.reports
    assert report.types == ("filedesc structure", "Giant")
    assert (process.fds.growths[-1].old, process.fds.growths[-1].new) == (first_large, 2 * first_large)
    kernel, _ = grown(config, 6000)
    assert len(kernel.witness.reports) == 1


@pytest.mark.parametrize("name", FIXES)
def test_b41_no_fix_leads_to_a_report(name: str) -> None:
    """With each of the fixes, a descriptor table that grows to 8,192 causes no report."""
    kernel, process = grown(FIXES[name], 6000)
    assert process.fds.size == 8192
    assert kernel.witness.reports == []


@pytest.mark.parametrize("era", [name for name in ERAS if name != "2004-01"])
def test_b41_no_other_era_has_the_report(era: str) -> None:
    """In every era but January 2004, a descriptor table that grows to 6,000 or more causes no report."""
    kernel, process = grown(ERAS[era], 6000)
    assert process.fds.size >= 6000
    assert kernel.witness.reports == []


# --- B42 to B45: the rules -----------------------------------------------------------------------------------


@ALL_RULES
def test_b42_giant_goes_before_and_after_sleepable_locks(rules: WitnessRules) -> None:
    """Taking Giant and a sleepable lock in both orders causes no report."""
    witness = Witness(rules)
    assert take(witness, GIANT, SX) == take(witness, SX, GIANT) == []


@ALL_RULES
def test_b42_a_sleepable_lock_after_one_that_is_not_is_reported(rules: WitnessRules) -> None:
    """Taking a sleepable lock under a mutex is reported, and from 2006 on the header says why."""
    (report,) = take(Witness(rules, order=PLAIN), Lock("m"), SX)
    said = " (sleepable after non-sleepable)" if rules.says_why else ""
    assert report.header == f"lock order reversal{':' if said else ''}{said}"


@ALL_RULES
def test_b42_a_second_lock_of_a_type_is_a_duplicate_unless_allowed(rules: WitnessRules) -> None:
    """A second lock of one type is reported once for each type, unless the lock or the call allows it."""
    one, two = Lock("pipe 1", type="pipe mutex"), Lock("pipe 2", type="pipe mutex")
    witness = Witness(rules)
    (report,) = take(witness, one, two)
    assert str(report) == (
        'acquiring duplicate lock of same type: "pipe mutex"\n 1st pipe 1 @ kern/x.c:1\n 2nd pipe 2 @ kern/x.c:2'
    )
    assert take(witness, two, one) == []
    assert take(Witness(rules), one, Lock("pipe 3", type="pipe mutex", dupok=True)) == []
    witness = Witness(rules)
    with witness.held(one, "kern/x.c", 1):
        assert witness.check_order(two, "kern/x.c", 2, dupok=True) is None


@ALL_RULES
def test_b42_a_try_is_never_checked(rules: WitnessRules) -> None:
    """A try is checked against no lock that is held, and teaches no order."""
    witness, a, b = Witness(rules, order=[("a", "b")]), Lock("a"), Lock("b")
    with witness.held(b, "kern/x.c", 1):
        for lock in (a, b):
            assert witness.check_order(lock, "kern/x.c", 2, trylock=True) is None
    assert witness.order() == {"a": ("b",)}


def reports_of(rules: WitnessRules, pairs: Iterable[tuple[str, str]]) -> int:
    """Count the reports that these pairs of held and wanted types cause, where the order is c, b, a."""
    witness = Witness(rules, order=[("c", "b", "a")])
    locks = {name: Lock(name) for name in "abc"}
    return sum(len(take(witness, locks[held], locks[wanted])) for held, wanted in pairs)


@pytest.mark.parametrize(("year", "n"), [("2004", 1), ("2006", 1), ("2008", 2)])
def test_b43_what_silences_a_report_depends_on_the_year(year: str, n: int) -> None:
    """Until 2006 a report silences the type that was held, and from 2008 on only the pair of types."""
    assert reports_of(RULES[year], [("a", "b"), ("a", "c")]) == n
    assert reports_of(RULES[year], [("a", "b"), ("a", "b")]) == 1
    assert reports_of(RULES[year], [("a", "c"), ("b", "c")]) == 2


def test_b43_a_pair_is_silenced_in_both_directions() -> None:
    """After a report about a pair of types, the 2008 rules report neither order of the pair."""
    witness = Witness(RULES["2008"], order=[("user map", "m")])
    m = Lock("m")
    assert len(take(witness, m, SX)) == 1
    assert take(witness, m, SX) == take(witness, SX, m) == []


@ALL_RULES
def test_b44_an_order_is_learned_and_the_other_one_reported(rules: WitnessRules) -> None:
    """After a-b and b-c, taking a under c is reported, and the report teaches no order."""
    witness = Witness(rules, order=PLAIN)
    a, b, c = (Lock(name) for name in "abc")
    assert take(witness, a, b) == take(witness, b, c) == []
    assert witness.order() == {"a": ("b",), "b": ("c",)}
    (report,) = take(witness, c, a)
    assert report.types == ("c", "a")
    assert report.header == ("lock order reversal:" if rules.says_why else "lock order reversal")
    assert witness.order() == {"a": ("b",), "b": ("c",)}
    witness.check()


@ALL_RULES
def test_b45_a_lock_of_the_wanted_type_held_further_down_makes_three_lines(rules: WitnessRules) -> None:
    """The report lists a held lock of the wanted type, the lock whose order is wrong, and the lock wanted."""
    witness = Witness(rules, order=[("a", "b")], trace=False)
    first, second, b = Lock("a 1", type="a", address=1), Lock("a 2", type="a", address=2), Lock("b", address=3)
    (report,) = take(witness, first, b, second)
    assert str(report).splitlines()[1:] == [
        " 1st 0x1 a 1 (a) @ kern/x.c:1",
        " 2nd 0x3 b (b) @ kern/x.c:2",
        " 3rd 0x2 a 2 (a) @ kern/x.c:3",
    ]


# --- B46: profiles -------------------------------------------------------------------------------------------


def test_b46_the_table_of_mutex_profiling() -> None:
    """The table has the kernel's columns in whole microseconds, with averages by integer division."""
    profile, lock = LockProfile(MUTEX_PROFILING), Lock("pipe mutex")
    for start, ns in ((0, 1_999), (10_000, 2_999), (20_000, 500)):
        profile.acquired(lock, "../../../kern/sys_pipe.c", 500, now=start)
        profile.released(lock, now=start + ns)
    profile.acquired(lock, "kern/sys_pipe.c", 600, now=30_000)
    profile.contested(lock, "kern/sys_pipe.c", 500)
    profile.released(lock, now=31_000)
    assert profile.text("max").splitlines() == [
        "   max        total       count   avg     cnt_hold     cnt_lock name",
        "     2            5           3     1            0            1 kern/sys_pipe.c:500 (pipe mutex)",
        "     1            1           1     1            1            0 kern/sys_pipe.c:600 (pipe mutex)",
    ]


def test_b46_the_table_of_lock_profiling() -> None:
    """The later table also names lock classes and times the waiting, and leaves cnt_hold at 0."""
    profile, lock = LockProfile(LOCK_PROFILING), Lock("pipe_map", LockKind.SX, type="user map")
    profile.acquired(lock, "vm/vm_map.c", 1215, now=0, thread="one")
    profile.contested(lock, "vm/vm_map.c", 1300)
    profile.released(lock, now=8_000, thread="one")
    profile.acquired(lock, "vm/vm_map.c", 1300, now=8_000, waited=7_900, thread="two")
    profile.released(lock, now=9_000, thread="two")
    assert profile.text().splitlines() == [
        "     max  wait_max       total  wait_total       count    avg wait_avg cnt_hold cnt_lock name",
        "       8         0           8           0           1      8      0  0      0 vm/vm_map.c:1215 (sx:pipe_map)",
        "       1         7           1           7           1      1      7  0      1 vm/vm_map.c:1300 (sx:pipe_map)",
    ]


def test_b46_mutex_profiling_sees_sleep_mutexes_only_and_times_no_recursion() -> None:
    """Mutex profiling ignores sx locks, and counts a recursive acquisition as part of the outermost one."""
    profile, lock = LockProfile(MUTEX_PROFILING), Lock("Giant", recursable=True)
    assert profile.text() == "No locking recorded"
    profile.acquired(Lock("pipe_map", LockKind.SX), "a.c", 1, now=0)
    profile.acquired(lock, "a.c", 2, now=0)
    profile.acquired(lock, "a.c", 3, now=1_000)
    profile.released(lock, now=2_000)
    profile.released(lock, now=5_000)
    (row,) = profile.rows()
    assert (row.name, row.count, row.total) == ("a.c:2 (Giant)", 1, 5)


def test_b46_a_record_belongs_to_a_place_and_a_full_table_rejects() -> None:
    """Two locks taken at one line share a record, and after 1,000 places further ones are only counted as rejected."""
    profile = LockProfile()
    for lock in (Lock("one"), Lock("two")):
        profile.acquired(lock, "a.c", 1, now=0)
        profile.released(lock, now=1_000)
    (row,) = profile.rows()
    assert (row.name, row.count) == ("a.c:1 (one)", 2)
    for line in range(2, 1004):
        lock = Lock("m")
        profile.acquired(lock, "a.c", line, now=0)
        profile.contested(lock, "a.c", line)
        profile.released(lock, now=1)
    counts = profile.sysctl()
    assert {name.rpartition(".")[2]: n for name, n in counts.items()} == {
        "acquisitions": 1004,
        "collisions": counts["debug.mutex.prof.collisions"],
        "enable": 1,
        "hashsize": 1009,
        "maxrecords": 1000,
        "records": 1000,
        "rejected": 6,  # three places, each wanted twice
    }
    assert len(profile.rows()) == 1000


def test_b46_places_with_one_hash_have_records_of_their_own() -> None:
    """Two places with the same hash get separate records, and each collision is counted."""
    profile, lock = LockProfile(), Lock("m")
    for file, line in (("a.c", 601), ("b.c", 96), ("b.c", 96)):
        profile.acquired(lock, file, line, now=0)
        profile.released(lock, now=1_000)
    assert [(row.name, row.count) for row in profile.rows("name")] == [("a.c:601 (m)", 1), ("b.c:96 (m)", 2)]
    assert profile.sysctl()["debug.mutex.prof.collisions"] == 2
