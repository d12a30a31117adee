"""Programs as Python code: which calls and imports they have, and where the judge is needed at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coalloc import CoalescingSpace, PerPipeSpace
from coalloc.contract_text import parse_contract
from coalloc.testing import Breach, Counterexample, Property, Subject, loads, run_program
from coalloc.testing.python_form import as_python
from coalloc.testing.steps import CheckProgram

SEEN = Breach(Property.P5, "seen")


def program(steps: str, setting: str = "limit=4 room=4 arena=4") -> CheckProgram:
    """Return a program of steps that stand in one line."""
    return loads(f"coalloc check-program 1\nsetting {setting}\n" + steps.replace("; ", "\n") + "\n")


def code(
    steps: str, *, target: str = "coalloc:CoalescingSpace", make_space: Any = CoalescingSpace, **named: str
) -> str:
    """Return the Python of a program whose fault is made up."""
    return as_python(target, Subject(make_space), Counterexample(program(steps, **named), SEEN))


def run(text: str) -> dict[str, Any]:
    """Run Python code, and return its names."""
    names: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), names)
    return names


def test_every_call_is_written_as_one_writes_it() -> None:
    """Each kind of step is a call, and a comment tells the address that it gave."""
    text = code(
        "alloc 0 4096; xalloc 1 4096 align=8192; reserve 2 4096 at=0x1000; resize 0 4096; free 0; refree 0; free-inside 1 8;"
        " free-wild 0x5; starve 1; free-in-map 1; reclaim; alloc 5 65536; free 7; finish",
    )
    for line in (
        "b0 = space.alloc(4096)  # 0x0", "b1 = space.xalloc(4096, align=0x2000)  # 0x2000",
        "b0 = space.resize(b0, 4096)  # 0x0", "b2 = 0x1000; space.reserve(Extent(b2, 4096))",
        "space.free(b0)", "    space.free(b1 + 8)", "    space.free(0x5)", "space.reclaim()", "source.starve = 1",
        "source.meanwhile = lambda: space.free(b1)", "    b5 = space.alloc(65536)", "    pass  # refused",
        "from coalloc import Extent",
        'breach = run_thoroughly(Subject(CoalescingSpace), loads("\\n".join(program)))',
    ):  # fmt: skip
        assert line in text.splitlines(), line
    assert "b7" not in text.partition("program = [")[0]


def test_code_of_a_correct_allocator_runs_to_its_end() -> None:
    """Nothing fails where nothing is wrong, in any world."""
    for setting in ("limit=4 room=6 base=0x4000 arena=4 order=down", "limit=4 room=4 arena=4 release=eager pressure=1"):
        names = run(code("alloc 0 4096; free 0; free 0; refree 0", setting=setting))
        assert names["space"].stats().allocs == 1
    assert names["source"].pressure == names["space"].reclaim
    assert "arena_size" not in code("alloc 0 4096", make_space=PerPipeSpace)
    assert "kva_limit" not in code("alloc 0 4096", make_space=lambda source: PerPipeSpace(source, kva_limit=4096))


def test_a_factory_is_imported_from_where_it_is_found() -> None:
    """A file, a module, a mutant, a subject, and any other design."""
    for target, words in (
        (
            "some/where/mine.py:Mine.make",
            ("sys.path.insert(0, 'some/where')", "from mine import Mine", "Mine.make(source"),
        ),
        ("mine.py:Mine", ("sys.path.insert(0, '.')",)),
        ("coalloc:PerPipeSpace", ("from coalloc import PerPipeSpace",)),
        (
            "M31",
            (
                "MUTANTS[31].make_space(source",
                "from coalloc.testing import MUTANTS, Subject, WatchedSource, loads, run_thoroughly",
            ),
        ),
        ("per-pipe", ("SUBJECTS['per-pipe'](source",)),
        ("freebsd", ("find('freebsd').factory(source", "from coalloc.designs import find")),
        ("M999", ("find('M999').factory(source",)),
    ):
        text = code("alloc 0 4096", target=target, make_space=PerPipeSpace)
        for word in words:
            assert word in text, (target, word)


class Faulty(CoalescingSpace):
    """The second call fails in a way that the class says."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)


class Raises(Faulty):
    """A free raises."""

    def free(self, base: int) -> None:
        """Raise."""
        raise RuntimeError(base)


class Accepts(Faulty):
    """A free of anything is accepted."""

    def free(self, base: int) -> None:
        """Free what can be freed."""
        if base in {segment.base for segment in self.segments() if segment.kind.value == "busy"}:
            super().free(base)


class Misplaces(Faulty):
    """The highest place is taken, and not the lowest."""

    def alloc(self, size: int) -> int:
        """Take the upper half of the arena."""
        return self.xalloc(size, lo=0x2000)


class Loses(Faulty):
    """What is freed is not shown as free."""

    def segments(self) -> Any:
        """Show what is in use."""
        return tuple(segment for segment in super().segments() if segment.kind.value == "busy")


def shown(make_space: Callable[..., Any], steps: str) -> str:
    """Return the code of a program with the breach that it ends in."""
    subject, whole = Subject(make_space), program(steps)
    breach = run_program(subject, whole)
    assert breach is not None
    return as_python("tests.unit.test_python_form:" + make_space.__name__, subject, Counterexample(whole, breach))


@pytest.mark.parametrize(
    ("make_space", "steps", "error", "words"),
    [
        (Raises, "alloc 0 4096; free 0", RuntimeError, "space.free(b0)"),
        (
            Accepts,
            "alloc 0 4096; free-wild 0x5",
            AssertionError,
            'raise AssertionError("space.free(0x5) was accepted")',
        ),
        (Misplaces, "alloc 0 4096", AssertionError, "assert b0 in [0x0]"),
        (Loses, "alloc 0 4096", AssertionError, "assert breach is None, breach"),
    ],
)
def test_the_last_call_shows_the_fault_if_it_can(
    make_space: Callable[..., Any], steps: str, error: type[Exception], words: str
) -> None:
    """An exception, what was accepted, and a wrong place show themselves; for the rest the judge runs the program."""
    text = shown(make_space, steps)
    assert words in text.splitlines() or f"    {words}" in text.splitlines()
    with pytest.raises(error):
        run(text)


def test_a_refusal_with_a_place_shows_itself_too() -> None:
    """Where a request was refused that has a place, the call alone is the end."""

    class Refuses(Faulty):
        def alloc(self, size: int) -> int:
            if self.stats().allocs:
                raise MemoryError
            return super().alloc(size)

    text = shown(Refuses, "alloc 0 4096; alloc 1 4096")
    assert text.splitlines()[-2] == "b1 = space.alloc(4096)"


def test_an_allocator_that_cannot_be_made_has_no_calls() -> None:
    """A program on an allocator whose factory raises is left to the judge, with the contract that was given."""

    def unmade(_source: object) -> object:
        raise RuntimeError

    contract = parse_contract("fit=first")
    text = as_python("coalloc:unmade", Subject(unmade, contract), Counterexample(program("alloc 0 4096"), SEEN))
    assert "b0" not in text
    assert "from coalloc.testing.contracts import parse_contract" in text
    assert "parse_contract('fit=first," in text
