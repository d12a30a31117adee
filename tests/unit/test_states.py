"""Kernel states: a registered record is known to every command, scenario and table, and a wrong one is refused."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from coalloc import ERAS, KERNELS, STATES, cli
from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import Backing, Era, KernelState, LinuxState
from coalloc.pipes.states import register, unregister
from coalloc.report import states_table
from coalloc.scenarios import TESTS

FEW = {"mail": ("--limit", "2M", "--pagers", "2", "--pipers", "2"), **dict.fromkeys(TESTS, ())}
FEW |= {name: ("--times", "50") for name, test in TESTS.items() if test.times}


@pytest.fixture(params=["FreeBSD", "MyBSD"])
def mine(request: pytest.FixtureRequest) -> Iterator[Era]:
    """A state that differs from today's in what its reverse half gets; of FreeBSD, or of another kernel."""
    state = attrs.evolve(
        ERAS["current"], name="mine", title="My patch", kernel=request.param, reverse=Backing.FIRST_WRITE
    )
    assert register(state) is state
    yield state
    unregister("mine")


def run(*arguments: str) -> int | str | None:
    """Run a command line and return its status."""
    with pytest.raises(SystemExit) as caught:
        cli.run([*arguments])
    return caught.value.code


@pytest.mark.usefixtures("build_read_once")
def test_compare_and_map_know_a_registered_state(mine: Era, capsys: pytest.CaptureFixture[str]) -> None:
    """They name it, with its title."""
    assert run("compare", "--era", mine.name, "--designs", "per-pipe", "--jobs", "1") == 0
    assert "era mine: My patch; limit" in capsys.readouterr().out
    assert run("map", "--era", mine.name, "--at", "100") == 0
    assert "coalescing, era mine, after operation 100" in capsys.readouterr().out


@pytest.mark.parametrize("scenario", FEW)
def test_the_mail_and_every_pipe_test_run_over_a_registered_state(
    mine: Era, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Today's pipes pass all of FreeBSD's tests, and backing at the first write breaks none."""
    assert run("scenario", scenario, "--era", mine.name, *FEW[scenario]) == 0
    assert "mine" in capsys.readouterr().out


def test_the_table_of_states_shows_a_registered_state(mine: Era) -> None:
    """Its row stands last, and is gone when it is taken back."""
    table = states_table(STATES.values())
    assert table.splitlines()[-1] == (
        f"| mine | {mine.kernel} | forward whole, reverse at the first write | above 1/2 of maxpipekva "
        "| doubling up to 64 KiB, and shrinking | ENOMEM |"
    )
    assert ("mine" in ERAS, "mine" in KERNELS) == (mine.kernel == "FreeBSD", mine.kernel != "FreeBSD")
    unregister("mine")
    try:
        assert states_table(STATES.values()) == table.rpartition("\n")[0]
    finally:
        register(mine)


def test_a_state_that_cannot_be_registered_is_refused() -> None:
    """A name stands once, and a state of FreeBSD has FreeBSD's pipe policy."""
    with pytest.raises(InvalidRequestError, match="there is a kernel state of this name already"):
        register(ERAS["2006"])
    with pytest.raises(InvalidRequestError, match="a state of FreeBSD is an Era"):
        register(attrs.evolve(STATES["linux"], name="mine", kernel="FreeBSD"))
    assert "mine" not in STATES


def test_a_view_knows_its_own_states_only() -> None:
    """Every state is in one of the two views, and in no other."""
    assert [*ERAS, *KERNELS] == [*STATES]
    assert len(ERAS) + len(KERNELS) == len(STATES)
    with pytest.raises(KeyError):
        ERAS["linux"]


def test_what_surrounds_the_pipe_must_be_known_where_it_is_asked_for() -> None:
    """The error names the state."""
    with pytest.raises(InvalidRequestError, match="state='openbsd': has no kernel around its pipes"):
        _ = STATES["openbsd"].surroundings
    with pytest.raises(InvalidRequestError, match="state='openbsd': has no kernel around its pipes"):
        STATES["openbsd"].with_around(pair_zone=True)
    assert STATES["2006"].with_around(giant_frees=False).surroundings.giant_frees is False


def test_the_table_says_what_linux_limits_and_passes_over_what_it_does_not_know() -> None:
    """A user's slots are a limit or none; a record of another kind has a name and a kernel."""
    linux = STATES["linux"]
    assert isinstance(linux, LinuxState)
    free = attrs.evolve(linux, pages_soft=0, pages_hard=64)
    assert states_table([free]).endswith(
        "| linux | Linux | a ring without pages | never | a page at a write | ENFILE |"
    )
    other = KernelState(
        name="new", title="", kernel="New", maxpipekva_is_hard=False, own_object=False, findspace="tree"
    )
    assert states_table([other]).endswith("| new | New |  |  |  |  |")
