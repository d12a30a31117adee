"""The quick judge: it doubts every answer that looks wrong, and passes over what makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import CoalescingSpace, Contract
from coalloc.contract_text import parse_contract
from coalloc.testing import Breach, Subject, loads
from coalloc.testing.hidden import hide
from coalloc.testing.scout import Doubt, Scout, can_scout
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import MakeSpace

FIRST = "fit=first,constraints=all,resize=in place,release=retain(1)"
BEST = "fit=best,tie=lowest,constraints=all,resize=in place,release=retain(1)"


class Puppet(CoalescingSpace):
    """A space that gives the answers that it is told to give, each once."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.given = source
        self.told: dict[str, Any] = {}

    def _answer(self, call: str, *arguments: Any, **named: Any) -> Any:
        if call not in self.told:
            return getattr(CoalescingSpace, call)(self, *arguments, **named)
        answer = self.told.pop(call)
        if isinstance(answer, Exception):
            raise answer
        return answer(self) if callable(answer) else answer

    def alloc(self, size: int) -> Any:
        """Answer."""
        return self._answer("alloc", size)

    def xalloc(self, size: int, **bounds: int) -> Any:
        """Answer."""
        return self._answer("xalloc", size, **bounds)

    def free(self, base: int) -> None:
        """Answer."""
        self._answer("free", base)

    def resize(self, base: int, size: int) -> Any:
        """Answer."""
        return self._answer("resize", base, size)

    def reserve(self, extent: Any) -> None:
        """Answer."""
        self._answer("reserve", extent)

    def reclaim(self) -> Any:
        """Answer."""
        return self._answer("reclaim")

    def take(self, base: int, size: int = 4096) -> int:
        """Take a place of the caller's choice."""
        return CoalescingSpace.xalloc(self, size, lo=base)


def maps(size: int, then: Any = None, *, quietly: bool = False) -> Any:
    """Return an answer that maps a range, and returns its address or raises something."""

    def answer(space: Puppet) -> Any:
        try:
            base = space.given.map(size)
        except Breach:
            if not quietly:
                raise
            base = None
        if isinstance(then, Exception):
            raise then
        return base if then is None else then(space)

    return answer


def program(text: str, setting: str = "limit=8 room=12 arena=4") -> CheckProgram:
    """Return a program of steps that stand in one line."""
    return loads(f"coalloc check-program 1\nsetting {setting}\n" + text.replace("; ", "\n") + "\n")


def scout(contract: str, steps: str, told: dict[str, Any], make_space: MakeSpace = Puppet, **setting: str) -> Scout:
    """Do steps, and the last of them with told answers."""
    whole = program(steps, **setting)
    made = Scout(Subject(make_space, parse_contract(contract.replace("in place", "in-place"))), whole.world)
    for step in whole.steps[:-1]:
        made.do(step)
    if told:
        made.space.told |= told
    made.do(whole.steps[-1])
    return made


TWO = "alloc 0 4096; alloc 1 4096"
FOUR = "; ".join(f"alloc {n} 4096" for n in range(4))
EIGHT = "; ".join(f"alloc {n} 4096" for n in range(8))
WRONG: list[tuple[str, str, str, dict[str, Any]]] = [
    ("another error", FIRST, "alloc 0 4096", {"alloc": RuntimeError()}),
    ("a misuse of the source", FIRST, "alloc 0 4096", {"alloc": maps(-1, lambda space: space.alloc(4096), quietly=True)}),
    ("nothing is granted", FIRST, "alloc 0 0", {"alloc": 0}),
    ("it is not legal", FIRST, "alloc 0 4096", {"alloc": ValueError()}),
    ("no address", FIRST, "alloc 0 4096", {"alloc": 1.5}),
    ("an arena too many", FIRST, "alloc 0 4096; alloc 1 4096", {"alloc": maps(16384)}),
    ("no arena there", FIRST, TWO, {"alloc": -4096}),
    ("no quantum begins there", FIRST, TWO, {"alloc": 0x1001}),
    ("it is in use", FIRST, TWO, {"alloc": 0}),
    ("not the first place", FIRST, TWO, {"alloc": lambda space: space.take(0x2000)}),
    ("not the first arena", FIRST, f"{EIGHT}; free 0; free 4; alloc 9 4096", {"alloc": lambda space: space.take(0x4000)}),
    ("not the start of a hole", BEST, TWO, {"alloc": lambda space: space.take(0x2000)}),
    ("not the smallest hole", BEST, f"{EIGHT}; free 0; free 2; free 3; alloc 9 4096",
     {"alloc": lambda space: space.take(0x2000)}),
    ("not the lowest of equal holes", BEST, f"{FOUR}; free 0; free 2; alloc 9 4096",
     {"alloc": lambda space: space.take(0x2000)}),
    ("not the lowest of equal arenas", BEST, f"{EIGHT}; free 0; free 4; alloc 9 4096",
     {"alloc": lambda space: space.take(0x4000)}),
    ("not aligned", FIRST, "alloc 0 4096; xalloc 1 4096 align=8192", {"xalloc": lambda space: space.take(0x1000)}),
    ("crosses a boundary", FIRST, "alloc 0 4096; xalloc 1 8192 nocross=8192",
     {"xalloc": lambda space: space.take(0x1000, 8192)}),
    ("too low", FIRST, "alloc 0 4096; xalloc 1 4096 lo=0x2000", {"xalloc": lambda space: space.take(0x1000)}),
    ("too high", FIRST, "alloc 0 4096; xalloc 1 4096 hi=0x1fff", {"xalloc": lambda space: space.take(0x2000)}),
    ("refused with a hole", FIRST, TWO, {"alloc": MemoryError()}),
    ("refused with room for an arena", FIRST, f"{FOUR}; alloc 9 4096", {"alloc": MemoryError()}),
    ("keeps too many", FIRST.replace("retain(1)", "eager"), "alloc 0 4096; free 0", {}),
    ("resized to nothing", FIRST, "alloc 0 4096; resize 0 0", {"resize": 0}),
    ("refused to grow in place", FIRST, "alloc 0 4096; resize 0 8192", {"resize": MemoryError()}),
    ("growing is not legal", FIRST, "alloc 0 4096; resize 0 8192", {"resize": ValueError()}),
    ("grows over another", FIRST, f"{TWO}; resize 0 8192", {"resize": 0}),
    ("moves without need", FIRST, "alloc 0 4096; resize 0 8192", {"resize": lambda space: space.take(0x2000, 8192)}),
    ("a free place is not reserved", FIRST, "alloc 0 4096; reserve 1 4096 at=0x1000", {"reserve": ValueError()}),
    ("a taken place is reserved", FIRST, "alloc 0 4096; reserve 1 4096 at=0x0", {"reserve": None}),
    ("frees twice", FIRST, f"{TWO}; free 0; refree 0", {"free": None}),
    ("reclaims nothing", FIRST, "alloc 0 4096; free 0; reclaim", {"reclaim": None}),
    ("maps for nothing", FIRST, "alloc 0 0", {"alloc": maps(4096, ValueError())}),
    ("maps beyond the limit", FIRST, "alloc 0 4096", {"alloc": maps(10 * 4096)}),
    ("unmaps what is in use", FIRST, f"{TWO}; free 0", {"free": lambda space: space.given.unmap(0, 16384)}),
]  # fmt: skip


@pytest.mark.parametrize(("contract", "steps", "told"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_looks_wrong_is_doubted(contract: str, steps: str, told: dict[str, Any]) -> None:
    """Each answer that breaks a rule is doubted, and everything before it is not."""
    with pytest.raises(Doubt):
        scout(contract, steps, told)


RIGHT: list[tuple[str, str, str, dict[str, Any]]] = [
    ("from the top", FIRST + ",end=high", "alloc 0 4096", {"alloc": lambda space: space.take(0x3000)}),
    ("a number is used once", FIRST, "alloc 0 4096; alloc 0 4096", {"alloc": RuntimeError()}),
    ("not promised", FIRST.replace("constraints=all", "constraints=none"), "alloc 0 4096; xalloc 1 4096 align=8192",
     {"xalloc": RuntimeError()}),
    ("too large to be legal", FIRST, "alloc 0 1048576", {"alloc": ValueError()}),
    ("the next arena", FIRST, f"{FOUR}; alloc 9 4096", {}),
    ("the lowest of equal holes", BEST, f"{EIGHT}; free 4; free 0; free 2; alloc 9 4096",
     {"alloc": lambda space: CoalescingSpace.xalloc(space, 4096, hi=0xFFF)}),
    ("any of equal holes", BEST.replace(",tie=lowest", ""), f"{FOUR}; free 0; free 2; alloc 9 4096",
     {"alloc": lambda space: space.take(0x2000)}),
    ("the last of the holes", BEST, f"{EIGHT}; free 4; free 0; free 1; alloc 9 4096", {}),
    ("full", FIRST + ",reclaims=no", f"{EIGHT}; alloc 9 4096", {}),
    ("an idle arena is no room", FIRST, f"{EIGHT}; free 0; alloc 9 65536", {}),
    ("not live", FIRST, "free 3", {"free": RuntimeError()}),
    ("nothing to resize", FIRST, "resize 3 4096", {"resize": RuntimeError()}),
    ("never so small", FIRST, "alloc 0 4096; resize 0 0", {}),
    ("never so large", FIRST, "alloc 0 4096; resize 0 1048576", {"resize": ValueError()}),
    ("shrinks", FIRST, "alloc 0 8192; resize 0 4096", {}),
    ("moves", FIRST, f"{TWO}; resize 0 8192", {}),
    ("may move", FIRST.replace("in place", "moving"), "alloc 0 4096; resize 0 8192",
     {"resize": lambda space: space.take(0x1000, 8192)}),
    ("no quantum to reserve", FIRST, "reserve 0 4096 at=0x1", {"reserve": RuntimeError()}),
    ("no arena to reserve in", FIRST, "reserve 0 4096 at=0x0", {}),
    ("not free to be reserved", FIRST, "alloc 0 4096; reserve 1 4096 at=0x0", {}),
    ("reserved", FIRST, "alloc 0 4096; reserve 1 4096 at=0x2000", {}),
    ("reserved by one who has a place", FIRST, "alloc 0 4096; reserve 0 4096 at=0x2000", {"reserve": RuntimeError()}),
    ("no second free", FIRST, "refree 0", {"free": RuntimeError()}),
    ("nothing is refused", FIRST, "alloc 0 0", {}),
    ("refused where the source failed", FIRST, "starve 1; alloc 0 4096", {"alloc": maps(16384)}),
    ("refused for its constraints", FIRST, "alloc 0 4096; xalloc 1 4096 hi=0xfff", {}),
    ("keeps its constraints", FIRST, "xalloc 0 4096 align=8192 phase=4096 nocross=8192 lo=0x1000 hi=0x1fff", {}),
    ("grows", FIRST, "alloc 0 4096; resize 0 8192", {}),
    ("cannot grow", FIRST, f"{EIGHT}; resize 0 8192", {}),
    ("a wild free", FIRST, "alloc 0 4096; free-wild 0x123", {}),
    ("a free inside", FIRST, "alloc 0 8192; free-inside 0 4096", {}),
    ("all is given back", FIRST, f"{TWO}; finish", {}),
]  # fmt: skip


@pytest.mark.parametrize(("contract", "steps", "told"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_what_is_right_is_not_doubted(contract: str, steps: str, told: dict[str, Any]) -> None:
    """What a rule allows is passed, and a step that makes no sense makes no call."""
    made = scout(contract, steps, told)
    assert all(isinstance(answer, RuntimeError) for answer in made.space.told.values())


def test_a_source_without_room_is_a_reason_to_refuse() -> None:
    """A refusal below the limit is right where the source has no gap of the size."""
    made = scout(FIRST, f"{EIGHT}; alloc 9 4096", {}, setting="limit=12 room=8 arena=4")
    assert 9 not in made.live


def test_an_allocator_that_cannot_reclaim_is_not_asked_to() -> None:
    """Without reclaim() an idle arena may be left at the end."""
    made = scout(FIRST, "alloc 0 4096; finish", {}, hide(Puppet, "reclaim"))
    assert made.bases == [0]


def test_a_quantum_that_does_not_divide_the_granule_is_doubted() -> None:
    """The scout counts in quanta, so it leaves an odd one to the judge."""

    class Odd(Puppet):
        quantum = 3000

    with pytest.raises(Doubt):
        scout(FIRST, "alloc 0 4096", {}, Odd)


def test_the_scout_draws_from_the_holes_that_it_knows() -> None:
    """The free ranges of all arenas are listed, base and size, as the drawing of steps wants them."""
    made = scout(FIRST, f"{EIGHT}; free 1; free 4; free 5", {})
    assert made.books.state.holes == [(0x1000, 0x1000), (0x4000, 0x2000)]


def test_the_scout_knows_plain_contracts_only() -> None:
    """What lies beside buffers, or is rounded otherwise, is left to the judge."""
    assert can_scout(parse_contract("fit=best"))
    for text in ("header=16", "geometry=buddy", "rounding=power", "coalescing=by-arena", "reserve=4096"):
        assert not can_scout(parse_contract(text)), text
    assert can_scout(Contract(fit=None))
