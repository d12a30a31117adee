"""Errors: one line for the reader, data as attributes, and they travel between processes."""

from __future__ import annotations

import errno
import pickle

import pytest

from coalloc import errors
from coalloc.errors import (
    BadFreeError,
    Change,
    CoallocError,
    Explanation,
    FreeFault,
    HoleVerdict,
    InvalidRequestError,
    InvariantViolation,
    KvaLimitError,
    MissingExtraError,
    NoSpaceError,
    PipeError,
    ProgramError,
    Remedy,
    Rule,
    SpanOverlapError,
    Violation,
)

EXPLANATION = Explanation(
    8,
    (HoleVerdict(0, 4, Rule.SIZE),),
    "refused",
    (Remedy(Change.SIZE, 4), Remedy(Change.KVA_LIMIT, 12), Remedy(Change.ALIGN, 0)),
)
SAMPLES: list[tuple[CoallocError, str]] = [
    (InvalidRequestError("size", 0, "must be greater than 0"), "size=0: must be greater than 0"),
    (BadFreeError(16, FreeFault.FREED_TWICE), "address 0x10 is not the base of a live buffer: freed already"),
    (
        BadFreeError(17, FreeFault.INSIDE_BUFFER, (16, 8)),
        "address 0x11 is not the base of a live buffer: inside a buffer (1 bytes into the buffer 0x10+8)",
    ),
    (BadFreeError(16, FreeFault.NOT_MAPPED), "address 0x10 is not mapped"),
    (SpanOverlapError((0, 8), (4, 4), "overlaps"), "range 0x0+8: overlaps 0x4+4"),
    (SpanOverlapError((0, 8), None, "is nowhere"), "range 0x0+8: is nowhere"),
    (MissingExtraError("typer", "cli"), "typer is not installed; it comes with: pip install 'coalloc[cli]'"),
    (
        KvaLimitError(8, free=4, largest_hole=4, mapped=16, kva_limit=16, explain=lambda: EXPLANATION),
        "no place for 8 bytes: 4 free (largest hole 4), 16 mapped of at most 16",
    ),
    (
        NoSpaceError(8, free=0, largest_hole=0, mapped=0, kva_limit=16),
        "no place for 8 bytes: 0 free (largest hole 0), 0 mapped of at most 16",
    ),
    (InvariantViolation((Violation("I7", "a"), Violation("I1", "b")), "dump"), "I7: a\nI1: b\ndump"),
    (InvariantViolation((Violation("MI1", "a"),)), "MI1: a"),
    (ProgramError("no", "f", 3), "f, line 3: no"),
    (ProgramError("no"), "no"),
    (PipeError(errno.EPIPE, "write"), "write: EPIPE: Broken pipe"),
    (errors.PanicError("recursed"), "recursed"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=lambda value: type(value).__name__)
def test_errors_say_what_happened_and_survive_pickling(error: CoallocError, text: str) -> None:
    """An error keeps its text and its kind when it is pickled."""
    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == text


def test_every_error_of_the_module_is_sampled() -> None:
    """Every exception of the module has a sample here."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoallocError)}
    assert kinds - {CoallocError, errors.ExhaustionError} == {type(error) for error, _ in SAMPLES}


def test_an_explanation_names_every_hole_and_every_remedy() -> None:
    """An explanation's text has a line for every hole, the import and every remedy."""
    assert str(EXPLANATION).splitlines() == [
        "no place for 8 bytes",
        "  hole 0x0+4: too small",
        "  import: refused",
        "  would succeed: ask for at most 4",
        "  would succeed: raise kva_limit to 12",
        "  would succeed: set align to 0",
    ]
    assert str(Explanation(8, (), "x", ())).splitlines()[1:] == [
        "  there are no holes",
        "  import: x",
        "  no single change was found that would succeed",
    ]


def test_a_refusal_without_an_explanation_says_so() -> None:
    """explain() never fails, and an explanation survives pickling."""
    error = NoSpaceError(8, free=0, largest_hole=0, mapped=0, kva_limit=16)
    assert error.explain() == Explanation(8, (), "not tried", ())
    explained = pickle.loads(pickle.dumps(SAMPLES[7][0]))
    assert explained.explain() == EXPLANATION


def test_codes_are_sorted_and_unique() -> None:
    """The codes of a violation are sorted and unique."""
    assert InvariantViolation((Violation("I7", "a"), Violation("I1", "b"), Violation("I7", "c"))).codes == ("I1", "I7")


def test_a_message_is_one_short_line() -> None:
    """Whatever a file or a user says, a message has at most 300 characters, and no control characters."""
    for error in (
        InvalidRequestError("size", "9" * 5_000_000, "is too large"),
        InvalidRequestError("size", 10**5000, "is too large"),
        InvalidRequestError("x" * 400, b"\0" * 1000, "y" * 1000),
        ProgramError(f"{'z' * 5_000_000!r} is none", "a\x1b[31m\n" * 100, 7),
    ):
        text = str(error)
        assert len(text) <= 300
        assert text.isprintable()
    assert str(InvalidRequestError("size", 10**5000, "is too large")) == "size=<int>: is too large"
    assert str(ProgramError("is bad", "a\x1b\u200eb", 7)) == "a\\x1b\\u200eb, line 7: is bad"
