"""The program that coalloc ships: the pipes of a real build, so that a comparison runs with no arguments.

Derived from a recording of ``./configure && make -j2`` of GNU hello on Linux under strace (2,149 pipes, at most 6 alive at
once, 1,294,578 bytes written): times, sizes and order of the operations on pipes, nothing else.
"""

from __future__ import annotations

from importlib import resources

from coalloc.workload.program import PipeProgram
from coalloc.workload.textformat import load

__all__ = ["bundled_build"]


def bundled_build() -> PipeProgram:
    """Return the pipe program of the bundled build.

    >>> facts = bundled_build().facts()
    >>> facts.pipes, facts.peak_live, facts.live_at_end, facts.bytes_written
    (2149, 6, 0, 1294578)
    """
    with resources.as_file(resources.files("coalloc.workload") / "data" / "hello_build.pipes.xz") as path:
        program = load(path)
    if not isinstance(program, PipeProgram):  # pragma: no cover (the file is ours)
        raise TypeError("the bundled program is no pipe program")
    return program
