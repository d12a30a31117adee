"""Pictures of arenas: one mark for each part, whatever the sizes."""

from __future__ import annotations

import pytest

from coalloc import InvalidRequestError, Kind, Segment
from coalloc.space.picture import draw


def test_every_part_has_the_mark_of_what_is_in_it() -> None:
    """Busy, cached, free, or a mixture; and the share that is busy."""
    segments = [
        Segment(0, 4096, Kind.BUSY, 0),
        Segment(4096, 2048, Kind.CACHED, 0),
        Segment(6144, 2048, Kind.FREE, 0),
        Segment(8192, 8192, Kind.FREE, 0),
    ]
    assert draw({0: 16384}, segments, 8).endswith("|##c.....|  25% busy")
    assert draw({0: 16384}, segments, 4).endswith("|#+..|  25% busy")
    assert draw({}, [], 4) == "no arena is mapped"


def test_what_tells_of_an_arena_that_is_not_there_is_left_out() -> None:
    """So that a space that is corrupt can be looked at."""
    lost = Segment(65536, 4096, Kind.BUSY, 65536)
    assert draw({0: 4096}, [Segment(0, 4096, Kind.FREE, 0), lost], 4).endswith("|....|   0% busy")


@pytest.mark.parametrize("width", [0, -1, 1.5, None])
def test_a_picture_has_a_width(width: object) -> None:
    """Of one part or more."""
    with pytest.raises(InvalidRequestError):
        draw({}, [], width)  # type: ignore[arg-type]
