"""Programs: what is valid, and what they amount to."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import (
    InvalidRequestError,
    PipeOp,
    PipeOpKind,
    PipeProgram,
    ProgramError,
    SpaceOp,
    SpaceOpKind,
    SpaceProgram,
)
from coalloc.pipes.budget import ROOT, Owner
from coalloc.workload.program import TraceFacts

C, W, R, X, S, TW, TR = PipeOpKind
GOOD = [
    PipeOp(0, C, 0),
    PipeOp(1, W, 0, 1, 9),
    PipeOp(1, R, 0, 0, 4),
    PipeOp(5, X, 0, 1),
    PipeOp(7, C, 1),
    PipeOp(9, X, 0, 0),
]


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ((-1, C, 0, 0, 0), "time -1"), ((2**63, C, 0, 0, 0), "time"), ((5, C, 2, 0, 0), "the next one is 1"),
        ((5, C, 1, 1, 0), "takes no end"), ((5, W, 7, 0, 1), "not created"), ((5, W, -1, 0, 1), "not created"),
        ((5, W, 0, 2, 1), "neither 0 nor 1"), ((5, R, 0, 1, 1), "is closed"), ((5, X, 0, 0, 1), "no bytes"),
        ((5, 9, 0, 0, 1), "unknown operation"), ((5, R, 0, 0, 0), "0 bytes"), ((4, R, 0, 0, 1), "before the operation above"),
        ((5, R, 0, 0, 2**31), "bytes are not in"), ((5, TR, 0, 0, 2**31), "bytes are not in"), ((5, TW, 0, 0, 0), "0 bytes"),
        ((5, TW, 0, 1, 1), "is closed"), ((5, S, 0, 0, 2**32), "size of 4294967296"), ((5, S, 0, 0, -1), "size of -1"),
        ((5, C, 1, 0, 2**32), "user id 4294967296"), ((5, C, 1, 0, -1), "user id -1"),
    ],
)  # fmt: skip
def test_the_first_invalid_operation_is_named(operation: Any, words: str) -> None:
    """The error of an invalid program names the first invalid operation, counted from 1."""
    with pytest.raises(ProgramError, match=words) as caught:
        PipeProgram([*GOOD[:4], operation, (-5, 0, 0, 0, 0)])
    assert caught.value.line == 5


def test_facts_count_what_the_program_amounts_to() -> None:
    """The facts count pipes, bytes and calls, and a pipe is live while one end is open."""
    program = PipeProgram(GOOD, title="t")
    assert program.facts() == TraceFacts(
        pipes=2,
        peak_live=2,
        live_at_end=1,
        bytes_written=9,
        bytes_read=4,
        writes=1,
        reads=1,
        operations=6,
        duration=9,
        owners=1,
    )
    assert list(program) == GOOD
    assert PipeProgram([]).facts().duration == 0
    for title in ("two\nlines", "a \x01 control character", "\u2028"):
        for kind in (PipeProgram, SpaceProgram):
            with pytest.raises(ProgramError, match="not one line"):
                kind([], title=title)
    assert repr(program) == "<PipeProgram 't': 6 operations>"


def test_pipes_have_owners_and_may_be_given_to_another() -> None:
    """Root owns a pipe whose owner is not named; others are not privileged unless the program says so."""
    rich = Owner(7, privileged=True, pipebuf_limit=5)
    program = PipeProgram([PipeOp(0, C, 0), PipeOp(0, C, 1, 0, 7), PipeOp(0, S, 1, 0, 0)], owners=[rich])
    assert (program.owner(0), program.owner(7), program.owner(8)) == (ROOT, rich, Owner(8, privileged=False))
    assert program.facts().owners == 2
    given = program.owned_by(1000)
    assert [op.n for op in given] == [1000, 7, 0]
    assert given.owners == (rich,)
    assert given != program
    assert PipeProgram(list(program)) != program
    for uid in (-1, 2**32, True):
        with pytest.raises(InvalidRequestError):
            program.owned_by(uid)
    with pytest.raises(InvalidRequestError, match="twice"):
        PipeProgram([], owners=[rich, rich])


def test_tries_and_changes_of_size_are_counted_apart() -> None:
    """A try to write counts as a write; what a try to read gets nobody knows."""
    facts = PipeProgram([*GOOD[:1], PipeOp(1, TW, 0, 1, 9), PipeOp(1, TR, 0, 0, 4), PipeOp(2, S, 0, 1, 8)]).facts()
    assert (facts.writes, facts.bytes_written, facts.reads, facts.bytes_read) == (1, 9, 0, 0)
    assert (facts.try_writes, facts.try_reads, facts.set_sizes, facts.live_at_end) == (1, 1, 1, 1)


def test_programs_compare_by_their_operations() -> None:
    """Two programs are equal if their kind and their operations are, whatever their titles."""
    assert PipeProgram(GOOD, title="a") == PipeProgram(GOOD, title="b")
    assert PipeProgram(GOOD) != PipeProgram(GOOD[:-1])
    assert PipeProgram([]) != SpaceProgram([])
    assert SpaceProgram([]) != PipeProgram([])
    assert SpaceProgram([(0, 0, 5)]) == SpaceProgram([SpaceOp(SpaceOpKind.ALLOC, 0, 5)])


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ((0, 3, 8), "the next one is 2"), ((1, 0, 0), "not live"), ((2, 0, 8), "not live"), ((1, 1, 8), "takes no size"),
        ((2, 1, 0), "size of 0"), ((0, 2, 0), "size of 0"), ((7, 1, 0), "unknown operation"), ((2, 1, 2**63), "size of"),
    ],
)  # fmt: skip
def test_space_programs_are_checked_likewise(operation: Any, words: str) -> None:
    """The error of an invalid space program names the first invalid operation."""
    with pytest.raises(ProgramError, match=words) as caught:
        SpaceProgram([(0, 0, 8), (0, 1, 8), (1, 0, 0), operation])
    assert caught.value.line == 4
    good = SpaceProgram([(0, 0, 8), (2, 0, 16)], title="s")
    assert list(good) == [SpaceOp(SpaceOpKind.ALLOC, 0, 8), SpaceOp(SpaceOpKind.RESIZE, 0, 16)]
    assert repr(good) == "<SpaceProgram 's': 2 operations>"
