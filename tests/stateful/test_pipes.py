"""Pipes against a model of two byte queues, in every era and over every design: PI1 to PI5 after every step."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coalloc import ERAS, ROOT, Owner, PipeError, PipePair, PipeSystem
from coalloc.pipes.eras import PIPE_BUF, PIPE_MINDIRECT
from coalloc.space.protocol import Space
from tests.behaviours.designs import MAKERS, USER, make

PAGE = 4096


class Ordered:
    """A space that records the order of calls: PI4 says that a resize allocates before it frees."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)

    def alloc(self, size: int) -> int:
        base = self._space.alloc(size)
        self.calls.append("alloc")
        return base

    def free(self, base: int) -> None:
        self._space.free(base)
        self.calls.append("free")


class Model:
    """A pipe as two queues of bytes, with the state of its ends."""

    def __init__(self) -> None:
        self.data = [b"", b""]
        self.open = [True, True]


class PipesAgainstQueues(RuleBasedStateMachine):
    """Random programs on a small map, with real bytes."""

    era = "2006"
    design = "per-pipe"

    @initialize(pages=st.integers(8, 64), in_place=st.booleans())
    def start(self, pages: int, *, in_place: bool) -> None:
        self.system: PipeSystem = make(self.era, self.design, m=pages * PAGE)
        self.ordered = Ordered(self.system.space)
        self.system.space = self.ordered
        self.system.resize_in_place = in_place and self.design != "per-pipe"
        self.pipes: list[tuple[PipePair, Model]] = []
        self.counter = 0

    def pick(self, data: st.DataObject) -> tuple[PipePair, Model]:
        return data.draw(st.sampled_from(self.pipes))

    @rule(owner=st.sampled_from([ROOT, USER, Owner(7, False, 40000)]))
    def create(self, owner: Owner) -> None:
        used = self.system.budget.kva_used
        try:
            self.pipes.append((self.system.pipe(owner), Model()))
        except PipeError as error:
            assert error.errno == ERAS[self.era].create_errno
            assert self.system.budget.kva_used == used

    @precondition(lambda self: self.pipes)
    @rule(
        data=st.data(),
        end=st.integers(0, 1),
        n=st.one_of(st.integers(0, 600), st.integers(0, 70000)),
        direct=st.booleans(),
    )
    def write(self, data: st.DataObject, end: int, n: int, *, direct: bool) -> None:
        pair, model = self.pick(data)
        self.counter += 1
        content = (self.counter.to_bytes(4, "big") * (n // 4 + 1))[:n]
        self.ordered.calls.clear()
        try:
            taken = pair.write(end, content, direct=direct)
        except PipeError as error:
            if error.errno == errno.EBADF:
                assert not model.open[end]
            elif error.errno == errno.EPIPE:
                assert not model.open[1 - end]
            elif error.errno == errno.ENOMEM:
                assert pair.halves[1 - end].size == 0
            else:
                assert error.errno == errno.EAGAIN
                half = pair.halves[1 - end]
                drains = direct and n >= PIPE_MINDIRECT and half.size >= PIPE_MINDIRECT and half.cnt > 0
                assert half.direct is not None or drains or half.space < min(n, PIPE_BUF) or half.space == 0
        else:
            assert all(model.open)
            assert 0 <= taken <= n
            assert taken == n or n > PIPE_BUF
            model.data[1 - end] += content[:taken]
        if self.ordered.calls and not self.system.resize_in_place:
            assert self.ordered.calls in (["alloc"], ["alloc", "free"]), "PI4"

    @precondition(lambda self: self.pipes)
    @rule(data=st.data(), end=st.integers(0, 1), n=st.integers(0, 70000))
    def read(self, data: st.DataObject, end: int, n: int) -> None:
        pair, model = self.pick(data)
        got = bytearray()
        try:
            taken = pair.read(end, n, into=got)
        except PipeError as error:
            assert (error.errno == errno.EBADF) == (not model.open[end])
            assert error.errno == errno.EBADF or not model.data[end]
            return
        assert taken == len(got) <= n
        assert bytes(got) == model.data[end][:taken]
        if n and not taken:
            assert not model.open[1 - end], "the end of the file comes when the other end is closed"
            assert not model.data[end]
        model.data[end] = model.data[end][taken:]

    @precondition(lambda self: self.pipes)
    @rule(data=st.data(), end=st.integers(0, 1))
    def close(self, data: st.DataObject, end: int) -> None:
        pair, model = self.pick(data)
        if model.open[end]:
            assert pair.close(end)
            model.open[end] = False
            model.data[end] = b""
        else:
            with pytest.raises(PipeError):
                pair.close(end)
        if not any(model.open):
            assert pair not in self.system.pairs

    @rule(allowed=st.booleans())
    def permit(self, *, allowed: bool) -> None:
        self.system.piperesizeallowed = allowed

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "system"):
            return
        self.system.check()
        self.system.space.check()
        counters = self.system.counters()
        assert counters.kva_used == self.system.space.stats().live
        assert counters.bytes_written - counters.bytes_read >= sum(len(d) for _, m in self.pipes for d in m.data)
        for pair, model in self.pipes:
            for end in (0, 1):
                half = pair.halves[end]
                assert half.cnt + len(half.direct or b"") == len(model.data[end])

    def teardown(self) -> None:
        if hasattr(self, "system"):
            for pair, model in self.pipes:
                for end in (0, 1):
                    if model.open[end]:
                        pair.close(end)
            assert self.system.budget.kva_used == 0
            self.system.space.reclaim()
            assert self.system.space.stats().mapped == 0


@pytest.mark.parametrize("design", MAKERS)
@pytest.mark.parametrize("era", ERAS)
def test_pipes_keep_their_bytes_and_their_budget(era: str, design: str) -> None:
    """Bytes come out as they went in, and the budget adds up, whatever calls fail in between."""

    class Machine(PipesAgainstQueues):
        pass

    Machine.era, Machine.design = era, design
    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=30))
