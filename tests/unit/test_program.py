"""Programs: what is valid, and what they amount to."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import PipeOp, PipeOpKind, PipeProgram, ProgramError, SpaceOp, SpaceOpKind, SpaceProgram
from coalloc.workload.program import TraceFacts

C, W, R, X = PipeOpKind
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
        ((5, R, 0, 0, 2**31), "bytes are not in"),
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
        pipes=2, peak_live=2, live_at_end=1, bytes_written=9, bytes_read=4, writes=1, reads=1, operations=6, duration=9
    )
    assert list(program) == GOOD
    assert PipeProgram([]).facts().duration == 0
    for title in ("two\nlines", "a \x01 control character", "\u2028"):
        for kind in (PipeProgram, SpaceProgram):
            with pytest.raises(ProgramError, match="not one line"):
                kind([], title=title)
    assert repr(program) == "<PipeProgram 't': 6 operations>"


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
