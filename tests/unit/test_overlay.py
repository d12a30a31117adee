"""Overlays: many copies at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import InvalidRequestError, PipeProgram, bundled_build, overlay
from coalloc.pipes.budget import Owner
from coalloc.workload.generators import shell_pipeline


@given(st.integers(1, 6), st.integers(0, 5000), st.integers(0, 99))
def test_every_copy_is_there_shifted_and_in_order(copies: int, spread: int, seed: int) -> None:
    """An overlay is a valid program in which each copy has the program's operations, shifted in time."""
    program = shell_pipeline(pipelines=2, max_bytes=9000, seed=3)
    merged = overlay(program, copies, spread, seed)
    assert PipeProgram(merged) == merged
    facts, one = merged.facts(), program.facts()
    assert (facts.pipes, facts.bytes_written, facts.operations) == (
        copies * one.pipes, copies * one.bytes_written, copies * one.operations,
    )  # fmt: skip
    assert facts.duration <= one.duration + spread
    by_pipe: dict[int, list[tuple[int, int, int, int]]] = {}
    for op in merged:
        by_pipe.setdefault(op.pipe, []).append((op.time, op.kind, op.end, op.n))
    shifted = sorted(
        (stories[0][0], [(time - stories[0][0], *rest) for time, *rest in stories]) for stories in by_pipe.values()
    )
    originals: dict[int, list[tuple[int, int, int, int]]] = {}
    for op in program:
        originals.setdefault(op.pipe, []).append((op.time, op.kind, op.end, op.n))
    expected = [[(time - story[0][0], *rest) for time, *rest in story] for story in originals.values()]
    assert sorted(story for _, story in shifted) == sorted(expected * copies)


@given(st.integers(2, 6), st.integers(0, 5000), st.integers(1, 40))
def test_pieces_of_any_size_make_the_same_overlay(copies: int, spread: int, piece: int) -> None:
    """Operations are put in order in pieces, and the result does not show where they were cut."""
    program = shell_pipeline(pipelines=2, max_bytes=9000, seed=3)
    whole = overlay(program, copies, spread, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("coalloc.workload.overlay"), "_PIECE", piece)
        assert overlay(program, copies, spread, 5) == whole


def test_an_overlay_keeps_the_owners() -> None:
    """Each copy's pipes belong to whom they belonged."""
    owner = Owner(7, privileged=True)
    program = PipeProgram([(0, 0, 0, 0, 7), (5, 3, 0, 0, 0)], owners=[owner])
    merged = overlay(program, 3, 2, 0)
    assert merged.owners == (owner,)
    assert [op.n for op in merged] == [7, 7, 7, 0, 0, 0]


def test_equal_seeds_give_equal_overlays() -> None:
    """Equal seeds give equal overlays, another seed another one, and one copy is the program itself."""
    build = bundled_build()
    assert overlay(build, 3, 10**7, 5) == overlay(build, 3, 10**7, 5)
    assert overlay(build, 3, 10**7, 5) != overlay(build, 3, 10**7, 6)
    assert overlay(build, 1, 10, 1) is build
    assert overlay(build, 3, 10**7, 5).title == "3 copies of GNU hello: ./configure && make -j2, begun within 10.0 s"


def test_times_stay_within_the_format() -> None:
    """A program that ends just below 2**63 microseconds cannot be spread."""
    late = PipeProgram([(0, 0, 0, 0, 0), (2**63 - 1, 3, 0, 0, 0)])
    with pytest.raises(InvalidRequestError, match="spread"):
        overlay(late, 2, 5, 0)


@pytest.mark.parametrize(("copies", "spread"), [(0, 0), (-1, 0), (True, 0), (1.5, 0), (2, -1), (2, 0.5)])
def test_bad_arguments_are_refused(copies: Any, spread: Any) -> None:
    """A number of copies or a spread that is out of range is refused."""
    with pytest.raises(InvalidRequestError):
        overlay(bundled_build(), copies, spread, 0)
