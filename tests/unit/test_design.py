"""Kernel states by name, and what a design makes of one: pipes, and the space that the conformance kit checks."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from coalloc import ERAS, InvalidRequestError, KernelMap, PerPipeSpace, PipeError
from coalloc.designs import DESIGNS
from coalloc.pipes.design import PER_PIPE, Design, pipes_of
from coalloc.pipes.eras import PIPE_SIZE, Backing, Era, KernelState
from coalloc.pipes.linux import LinuxPipes
from coalloc.pipes.states import KERNELS, STATES, register, unregister
from coalloc.pipes.system import PipeSystem
from coalloc.testing import Subject, random_program

MiB = 1 << 20


@pytest.fixture
def lazy() -> Iterator[Era]:
    """Today's state, but that a half gets its buffer at its first write; it is registered as long as the test runs."""
    state = attrs.evolve(ERAS["current"], name="lazy", title="lazy", forward=Backing.FIRST_WRITE, reverse=Backing.NONE)
    yield register(state)  # type: ignore[misc]
    unregister("lazy")


def test_a_state_is_known_by_its_name_as_long_as_it_is_registered(lazy: Era) -> None:
    """Among all states, and among those of its kernel."""
    assert STATES["lazy"] is ERAS["lazy"] is lazy
    assert "lazy" not in KERNELS
    with pytest.raises(KeyError):
        KERNELS["lazy"]
    before = len(STATES)
    unregister("lazy")
    assert "lazy" not in STATES
    assert len(STATES) == before - 1
    register(lazy)
    assert list(STATES)[-1] == "lazy"


def test_a_name_is_given_once_and_a_state_of_freebsd_is_an_era(lazy: Era) -> None:
    """Whoever breaks that is told which field is wrong, and nothing is registered."""
    for state, what in ((lazy, "name"), (attrs.evolve(STATES["linux"], name="new", kernel="FreeBSD"), "kernel")):
        with pytest.raises(InvalidRequestError) as caught:
            register(state)
        assert caught.value.what == what
    assert "new" not in STATES


def test_a_half_may_get_its_buffer_at_its_first_write(lazy: Era) -> None:
    """Until then it costs nothing, and has the room of the buffer that it would get."""
    system = PipeSystem(PerPipeSpace(KernelMap(), kva_limit=MiB), lazy, maxpipekva=MiB)
    pipe = system.pipe()
    assert (system.kva_used, pipe.room(1), pipe.buffered(0)) == (0, PIPE_SIZE, 0)
    assert pipe.write(1, 100) == 100
    assert (system.kva_used, pipe.room(1), pipe.buffered(0)) == (PIPE_SIZE, PIPE_SIZE - 100, 100)
    assert pipe.read(0, 60) == 60
    assert pipe.buffered(0) == 40


def test_what_can_be_read_of_linuxs_pipe_is_what_was_written() -> None:
    """Less what was read."""
    system = pipes_of(STATES["linux"], DESIGNS["linux"].build(STATES["linux"], MiB).space, MiB)
    assert isinstance(system, LinuxPipes)
    pipe = system.pipe()
    pipe.write(1, 5000)
    pipe.read(0, 3000)
    assert pipe.buffered(0) == 2000


def test_the_console_is_shown_in_order() -> None:
    """One line, for the pipe that found no room."""
    space = PerPipeSpace(KernelMap(), kva_limit=PIPE_SIZE)
    system = PipeSystem(space, ERAS["2006"], maxpipekva=PIPE_SIZE)
    system.pipe()
    assert list(system.console_lines) == []
    with pytest.raises(PipeError):
        system.pipe()
    assert ["exceeded" in line.text for line in system.console_lines] == [True]


def test_a_state_of_another_kind_has_no_pipes() -> None:
    """Nobody knows how they would work."""
    linux = STATES["linux"]
    strange = KernelState(
        name="strange", title="", maxpipekva_is_hard=False, own_object=False, findspace=linux.findspace
    )
    with pytest.raises(InvalidRequestError, match="whose pipes are known"):
        pipes_of(strange, PerPipeSpace(KernelMap(), kva_limit=MiB), MiB)


def test_what_a_design_makes_for_pipes_can_be_checked() -> None:
    """The kit's factory is the one that a design names, or the one that makes the space for pipes in its own state."""
    assert attrs.evolve(PER_PIPE, subject=PerPipeSpace).factory is PerPipeSpace
    asked: list[KernelState] = []

    def make_space(state: KernelState, kernel: KernelMap, limit: int) -> PerPipeSpace:
        asked.append(state)
        return PerPipeSpace(kernel, kva_limit=limit)

    for own, expected in ((None, STATES["current"]), (STATES["linux"], STATES["linux"])):
        design = Design("mine", "mine", make_space, state=own)
        _, found = random_program(Subject(design.factory), 1)
        assert found is None, found
        assert set(map(id, asked)) == {id(expected)}
        asked.clear()
