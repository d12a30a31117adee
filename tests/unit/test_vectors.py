"""Vectors: what a file may hold, how an allocator is made for a program, and the first step that disagrees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coalloc import Fit, PerPipeSpace, ProgramError, VmemSpace
from coalloc.testing.subjects import SUBJECTS
from coalloc.testing.targets import find_target
from coalloc.testing.vectors import Vector, read_vectors, replay_vectors
from tests.unit.c_allocators import FULL

FILE = Path(__file__).parents[3] / "shared" / "data" / "vmem" / "freebsd_vmem.jsonl.xz"
BASE = 0xC4000000
SPANS: dict[str, Any] = {
    "strategy": "M_FIRSTFIT",
    "quantum": 4096,
    "qcache_max": 0,
    "spans": [[65536, 65536]],
    "steps": [
        [["alloc", 0, 4096], 65536, 65536, 4096, 61440],
        [["xalloc", 1, 4096, 8192, 4096, 0, 0, 2**64 - 1], 69632, 65536, 8192, 57344],
        [["alloc", 2, 65536], "ENOMEM", 65536, 8192, 57344],
        [["free", 0], None, 65536, 4096, 57344],
        [["drain"], None, 65536, 4096, 57344],
    ],
    "segments": [[65536, 4096, "free"], [69632, 4096, "busy"], [73728, 57344, "free"]],
}
IMPORTS: dict[str, Any] = {
    "strategy": "M_BESTFIT",
    "quantum": 4096,
    "qcache_max": 8192,
    "import_quantum": 65536,
    "limit": 131072,
    "steps": [
        [["alloc", 0, 4096], BASE, 65536, 4096, 61440],
        [["free", 0], None, 65536, 4096, 61440],
        [["drain"], None, 0, 0, 0],
    ],
}


def vectors(*given: dict[str, Any]) -> list[Vector]:
    """Return vectors as they are read from lines."""
    return read_vectors(json.dumps(each).encode() for each in given)


def test_an_allocator_that_agrees_does() -> None:
    """Spans that are added, and imports with caches, on the class itself and on the kit's subject."""
    read = vectors(SPANS, IMPORTS)
    for make_space in (VmemSpace, SUBJECTS["vmem"], SUBJECTS["vmem-bestfit"]):
        result = replay_vectors(make_space, read)
        assert (result.programs, result.steps, result.disagreements, result.not_run) == (2, 8, (), {})
        assert result.agrees
        assert result.not_compared == ()
    assert [str(each) for each in read] == [
        "program 1 (M_FIRSTFIT, 1 span)",
        "program 2 (M_BESTFIT, imports of 65536, limit 131072, caches up to 8192)",
    ]


@pytest.mark.parametrize(
    ("place", "value", "what", "kernel", "here"),
    [
        ((0, 1), 69632, "answer", "0x11000", "0x10000"),
        ((2, 1), 65536, "answer", "0x10000", "ENOMEM"),
        ((1, 1), 65536, "answer", "0x10000", "0x11000"),
        ((3, 2), 1, "total", "1", "65536"),
        ((3, 3), 1, "in_use", "1", "4096"),
        ((4, 4), 1, "largest", "1", "57344"),
    ],
)
def test_the_first_step_that_disagrees_is_told(
    place: tuple[int, int], value: Any, what: str, kernel: str, here: str
) -> None:
    """Each answer and each figure counts."""
    steps = [list(step) for step in SPANS["steps"]]
    steps[place[0]][place[1]] = value
    (found,) = replay_vectors(VmemSpace, vectors(SPANS | {"steps": steps})).disagreements
    assert (found.step, found.what, found.kernel, found.here) == (place[0] + 1, what, kernel, here)
    assert found.call == " ".join(map(str, steps[place[0]][0]))


def test_the_segments_at_the_end_count() -> None:
    """Another segment, or another number of them, is a disagreement behind the last step."""
    other = [*SPANS["segments"][:2], [73728, 57344, "busy"]]
    (found,) = replay_vectors(VmemSpace, vectors(SPANS | {"segments": other})).disagreements
    assert (found.step, found.what) == (6, "segments")
    assert (found.kernel, found.here) == ("(73728, 57344, 'busy')", "(73728, 57344, 'free')")
    (found,) = replay_vectors(VmemSpace, vectors(SPANS | {"segments": other[:2]})).disagreements
    assert (found.kernel, found.here) == ("2 segments", "3 segments")


def test_what_an_allocator_cannot_be_told_is_not_run() -> None:
    """Programs that need a setting or a span that it does not take are counted, and not held against it."""
    plain = IMPORTS | {"qcache_max": 0, "strategy": "M_FIRSTFIT"}
    result = replay_vectors(PerPipeSpace, vectors(SPANS, IMPORTS, plain))
    assert (result.programs, result.agrees) == (0, False)
    assert result.not_run == {"it takes no strategy": 3}

    def fixed(source: Any, *, kva_limit: int, import_quantum: int = 65536, quantum: int = 4096) -> VmemSpace:
        return VmemSpace(source, kva_limit=kva_limit, import_quantum=import_quantum, quantum=quantum)

    result = replay_vectors(
        fixed, vectors(SPANS, IMPORTS, IMPORTS | {"strategy": "M_FIRSTFIT"}, SPANS | {"quantum": 64})
    )
    assert result.not_run == {"it takes no strategy": 1, "it takes no qcache_max": 1}
    assert result.programs == 2

    class Bare:
        contract = VmemSpace.contract
        quantum = 4096

        def __init__(self, source: Any, *, strategy: Fit) -> None:
            self._space = VmemSpace(source, kva_limit=1 << 20, strategy=strategy)
            self.alloc, self.xalloc, self.free = self._space.alloc, self._space.xalloc, self._space.free

    result = replay_vectors(Bare, vectors(SPANS, SPANS | {"quantum": 64}, plain))
    assert result.not_run == {
        "it has no add(), which adds a span": 1,
        "it takes no quantum": 1,
        "it takes no import_quantum": 1,
    }


def test_what_is_not_told_is_not_compared() -> None:
    """Without stats() and segments() only answers are compared, which is said; an exception is an answer."""

    class Quiet(VmemSpace):
        stats = segments = None  # type: ignore[assignment]

        def drain(self) -> int:
            raise KeyError("x")

    result = replay_vectors(Quiet, vectors(SPANS))
    assert result.not_compared == ("segments (it does not show them)", "sizes (it has no stats)")
    assert [(each.step, each.here) for each in result.disagreements] == [(5, "KeyError: 'x'")]
    no_sizes = [step[:2] for step in SPANS["steps"]]
    assert replay_vectors(VmemSpace, vectors(SPANS | {"steps": no_sizes})).agrees


def test_a_program_whose_settings_are_refused_is_left_out() -> None:
    """It is counted with the allocator's words, and the others are run; a word that is not read is named."""
    (vector, other) = vectors(SPANS | {"quantum": 3000, "note": 1}, SPANS)
    result = replay_vectors(VmemSpace, [vector, other])
    assert (result.programs, result.agrees, vector.unread, other.unread) == (1, True, ("note",), ())
    ((why, n),) = result.not_run.items()
    assert (n, why.startswith("it cannot be made so: InvalidRequestError: quantum=3000")) == (1, True)
    both = result.joined(result)
    assert (both.programs, both.steps, both.not_run) == (2, 2 * result.steps, {why: 2})


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_an_allocator_in_c_gets_the_settings_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its open gets them; spans cannot be added to it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path / "built"))
    Path("mine.c").write_text(
        FULL.replace(
            "\t(void)options;\n",
            '\tif (strcmp(options, "strategy=M_BESTFIT,qcache_max=8192,import_quantum=65536") != 0)\n'
            "\t\treturn (COALLOC_NOSPACE);\n",
        ).replace("#include <stdlib.h>", "#include <stdlib.h>\n#include <string.h>"),
        encoding="utf-8",
    )
    result = replay_vectors(find_target("mine.c"), vectors(SPANS, IMPORTS))
    assert result.not_run == {"an allocator in C has no function to add a span": 1}
    assert [(each.step, each.what, each.here) for each in result.disagreements] == [(1, "total", "4096")]


def lines_with(line: bytes) -> Iterator[bytes]:
    """Yield a good line, an empty one, and this."""
    yield from (json.dumps(SPANS).encode(), b" ", line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no vector: it is no object"),
        (b"{}", "lacks strategy quantum qcache_max steps spans or import_quantum"),
        (json.dumps({name: value for name, value in IMPORTS.items() if name != "limit"}).encode(), "it lacks limit"),
        (json.dumps(SPANS | {"steps": []}).encode(), "steps is no list of lists"),
        (json.dumps(SPANS | {"steps": [[["drain"]]]}).encode(), "steps has [['drain']], which is no list of 2 or 5"),
        (json.dumps(SPANS | {"steps": [[["drain"], 5]]}).encode(), "the answer to drain cannot be 5"),
        (json.dumps(SPANS | {"steps": [[["alloc", 0, 1], None]]}).encode(), "the answer to alloc cannot be None"),
        (json.dumps(SPANS | {"steps": [[["free", 0], None]]}).encode(), "step 1 frees 0, which is not live"),
        (
            json.dumps(SPANS | {"steps": [[["alloc", 0, 1], "ENOMEM"], [["alloc", 0, 1], 5]]}).encode(),
            "step 2 gives the ID 0 once more",
        ),
        (
            json.dumps(SPANS | {"steps": [[["alloc", 0, 1], "ENOMEM"], [["free", 0], None]]}).encode(),
            "step 2 frees 0, which is not live",
        ),
        (json.dumps(SPANS | {"strategy": "M_NEXTFIT"}).encode(), "the strategy 'M_NEXTFIT' is none of M_FIRSTFIT"),
        (json.dumps(SPANS | {"quantum": 0}).encode(), "0 is no number of bytes"),
        (json.dumps(SPANS | {"spans": [[1]]}).encode(), "is no vector"),
        (json.dumps(SPANS | {"steps": [[["alloc", 0], None]]}).encode(), "is no call; there are alloc, xalloc"),
        (json.dumps(SPANS | {"steps": [[["alloc", 0, -1], None]]}).encode(), "-1 is no number of bytes"),
        (json.dumps(SPANS | {"steps": [[["drain"], "EINVAL"]]}).encode(), "the answer to drain cannot be 'EINVAL'"),
    ],
)
def test_a_line_that_is_no_vector_is_named(line: bytes, words: str) -> None:
    """The error has the file, the line and the reason."""
    with pytest.raises(ProgramError, match=r"some\.jsonl, line 3: ") as error:
        read_vectors(lines_with(line), "some.jsonl")
    assert words in str(error.value)


def test_a_file_without_vectors_is_refused() -> None:
    """An empty file compares nothing."""
    with pytest.raises(ProgramError, match="has no vectors"):
        read_vectors([b"", b"  "])


@pytest.mark.skipif(not FILE.exists(), reason="the kernel's vectors are not at hand")
def test_the_kernels_vectors_agree() -> None:
    """FreeBSD's answers, and ours: all 400 programs, step by step, with all sizes and the segments at the end."""
    from coalloc.workload.files import raw_lines

    read = read_vectors(raw_lines(str(FILE)))
    for make_space in (VmemSpace, SUBJECTS["vmem"]):
        result = replay_vectors(make_space, read)
        assert (result.programs, result.steps, result.disagreements) == (400, 23_210, ())
