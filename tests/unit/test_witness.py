"""The lock-order checker: what it refuses, lists and remembers (its behaviours are in tests/behaviours)."""

from __future__ import annotations

import pytest

from coalloc.errors import InvalidRequestError, PanicError
from coalloc.kernel import GIANT, RULES, Lock, LockKind, OrderReport, Witness


def test_a_listing_of_what_is_held_has_the_kernels_form() -> None:
    """A listing of held locks has the kernel's form, and can be limited to non-sleepable locks."""
    witness = Witness()
    proc = Lock("proctree", LockKind.SX, address=0x10)
    pipe = Lock("pipe 7", type="pipe mutex", address=0x20, recursable=True)
    assert witness.warn("sleeping") == ""
    with (
        witness.held(proc, "../../kern/a.c", 1, shared=True),
        witness.held(GIANT, "kern/b.c", 2),
        witness.held(pipe, "kern/c.c", 3),
        witness.held(pipe, "kern/d.c", 4),
    ):
        assert witness.warn("sleeping").splitlines() == [
            "sleeping with the following locks held:",
            "shared sx proctree r = 0 (0x10) locked @ kern/a.c:1",
            "exclusive sleep mutex Giant r = 0 (0xc0937960) locked @ kern/b.c:2",
            "exclusive sleep mutex pipe 7 (pipe mutex) r = 1 (0x20) locked @ kern/c.c:3",
        ]
        assert witness.warn("sleeping", sleeping=True).splitlines() == [
            "sleeping with the following non-sleepable locks held:",
            "exclusive sleep mutex pipe 7 (pipe mutex) r = 1 (0x20) locked @ kern/c.c:3",
        ]
    assert witness.locks_held() == ()
    assert witness.reports == []


def test_what_the_kernel_panics_about_raises() -> None:
    """Each misuse of locks that makes the kernel panic raises PanicError."""
    witness = Witness()
    mutex, spin, sx = Lock("m"), Lock("s", LockKind.SPIN), Lock("x", LockKind.SX)
    with witness.held(mutex, "a.c", 1):
        with pytest.raises(PanicError, match=r"recursed on non-recursive lock \(sleep mutex\) m @ b.c:2"):
            witness.check_order(mutex, "b.c", 2)
        with pytest.raises(
            PanicError, match=r"shared lock of \(sleep mutex\) m @ b.c:3\nwhile exclusively locked from a.c:1"
        ):
            witness.check_order(mutex, "b.c", 3, shared=True)
    with witness.held(sx, "a.c", 4, shared=True):
        with pytest.raises(PanicError, match="exclusive lock of"):
            witness.check_order(sx, "b.c", 5)
        assert witness.check_order(sx, "b.c", 6, shared=True) is None  # shared, more than once
    with pytest.raises(PanicError, match="its type is of the kind sleep mutex"):
        witness.check_order(Lock("m", LockKind.SX), "a.c", 7)
    with (
        witness.held(spin, "a.c", 8),
        pytest.raises(PanicError, match=r"blockable sleep lock \(sleep mutex\) m @ b.c:9"),
    ):
        witness.check_order(mutex, "b.c", 9)
    with pytest.raises(PanicError, match="is released and was not held"):
        witness.release(mutex)


def test_threads_hold_locks_of_their_own() -> None:
    """Locks of one thread order nothing for another, but all threads share the orders that are learned."""
    witness, a, b = Witness(order=()), Lock("a"), Lock("b")
    with witness.held(a, "x.c", 1, thread="one"), witness.held(b, "x.c", 2, thread="two"):
        pass
    assert witness.order() == {}
    with witness.held(a, "x.c", 3, thread="one"), witness.held(b, "x.c", 4, thread="one"):
        pass
    with witness.held(b, "x.c", 5, thread="two"), witness.held(a, "x.c", 6, thread="two") as report:
        assert report is not None
    assert witness.order() == {"a": ("b",)}


def test_a_report_names_the_calls_that_led_to_it_unless_told_not_to() -> None:
    """A report lists its calls, innermost first, unless trace is off, and goes to on_report."""
    told: list[OrderReport] = []
    a, b = Lock("a", address=1), Lock("b", address=2)
    for trace in (True, False):
        witness = Witness(order=[("a", "b")], trace=trace, on_report=told.append)
        with witness.held(b, "x.c", 1), witness.calling("pipe"), witness.calling("falloc"):
            report = witness.check_order(a, "x.c", 2)
        assert report is told[-1]
        assert report.path == (("falloc", "pipe") if trace else ())
    assert str(told[0]).splitlines()[-3:] == ["Stack backtrace:", "falloc", "pipe"]
    assert told[0].types == ("b", "a")


def test_an_order_is_followed_over_several_ways() -> None:
    """An order is followed through several paths to the same type."""
    witness = Witness(order=[("a", "b", "d"), ("a", "c", "d"), ("d", "e")])
    with witness.held(Lock("e"), "x.c", 1), witness.held(Lock("a"), "x.c", 2) as report:
        assert report is not None


def test_locks_may_be_given_back_in_any_order() -> None:
    """Locks may be released in any order, and an order may be listed twice."""
    witness, a, b = Witness(order=[("a", "b"), ("a", "b")]), Lock("a"), Lock("b")
    for lock in (a, b):
        witness.check_order(lock, "x.c", 1)
        witness.take(lock, "x.c", 1)
    witness.release(a)
    assert [held.lock for held in witness.locks_held()] == [b]
    witness.release(b)
    assert (witness.locks_held(), witness.order()) == ((), {"a": ("b",)})


def test_orders_that_contradict_each_other_are_refused() -> None:
    """A list of orders that leads from a type to itself is refused."""
    with pytest.raises(InvalidRequestError, match="comes behind itself"):
        Witness(order=[("a", "b"), ("b", "c", "a")])


def test_a_blessed_pair_may_be_taken_in_either_order() -> None:
    """A blessed pair causes no report and teaches no order."""
    import attrs

    rules = attrs.evolve(RULES["2006"], blessed=frozenset({frozenset({"a", "b"})}))
    witness, a, b = Witness(rules, order=[("a", "b")]), Lock("a"), Lock("b")
    with witness.held(b, "x.c", 1), witness.held(a, "x.c", 2) as report:
        assert report is None
    assert witness.order() == {"a": ("b",)}
