"""Time calls of an allocator in C: unjudged in one piece, call by call, and judged in a soak.

    python -m benchmarks.native [FILE.c]

Prints operations a second, with the load, the machine and the Python.  Without a file it takes docs/examples/c/tlsf.c.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.host import head
from coalloc.native import NativeFactory, native_target
from coalloc.native.whole import Call, Calls, run_whole
from coalloc.testing import WatchedSource
from coalloc.testing.isolate import crew
from coalloc.testing.on_targets import soak_target

_TLSF = Path(__file__).parents[1] / "docs" / "examples" / "c" / "tlsf.c"
_CALLS = 1_000_000
_LIVE = 400
_ROUNDS = 3
_SOAK = 2_000_000


def _program(seed: int = 1) -> tuple[Calls, list[tuple[int, int]]]:
    """Return a program of allocs and frees with at most so many live buffers; and the same as (buffer, size), 0 for a free."""
    generator = random.Random(seed)
    calls, number = Calls(n_buffers=_CALLS), 0
    plain: list[tuple[int, int]] = []
    live: list[int] = []
    for _ in range(_CALLS):
        if len(live) > _LIVE or (live and generator.random() < 0.5):
            at = generator.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            plain.append((live.pop(), 0))
            calls.words.extend((Call.FREE | plain[-1][0] << 32, 0, 0))
        else:
            plain.append((number, 4096 * generator.randint(1, 16)))
            calls.words.extend((Call.ALLOC | number << 32, plain[-1][1], 0))
            live.append(number)
            number += 1
    return calls, plain


def _whole(factory: NativeFactory, calls: Calls) -> float:
    began = time.perf_counter()
    answers = run_whole(factory.host(), calls, kva_limit=1 << 26, quantum=4096, base=0, size=1 << 27, granule=65536)
    assert answers is not None
    assert not any(answers.statuses)
    return _CALLS / (time.perf_counter() - began)


def _one_by_one(factory: NativeFactory, plain: list[tuple[int, int]]) -> float:
    source = WatchedSource(size=1 << 27, granule=65536)
    space = factory(source, kva_limit=1 << 26, quantum=4096)
    bases: dict[int, int] = {}
    began = time.perf_counter()
    for buffer, size in plain:
        if size:
            source.calls_left, source.events[:] = 1, []  # else it would take all calls for one step
            bases[buffer] = space.alloc(size)
        else:
            space.free(bases.pop(buffer))
    return len(plain) / (time.perf_counter() - began)


def _soaked(target: str) -> float:
    began = time.perf_counter()
    jobs = os.cpu_count() or 1
    with crew(jobs) as executor:
        result = soak_target(target, enough=lambda _programs, operations: operations >= _SOAK, executor=executor)
    assert result.found is None
    return result.operations / (time.perf_counter() - began)


def main() -> None:
    """Print the figures."""
    target = sys.argv[1] if len(sys.argv) > 1 else str(_TLSF)
    factory = native_target(target)
    calls, plain = _program()
    print(head(f"{_CALLS:,} allocs and frees of 4 to 64 KiB, at most {_LIVE} live; {Path(target).name}", 1))
    runs: dict[str, Callable[[], float]] = {
        f"{_CALLS:,} calls in one piece, unjudged": lambda: _whole(factory, calls),
        "100,000 calls one by one, unjudged": lambda: _one_by_one(factory, plain[:100_000]),
        f"a soak of {_SOAK:,} operations on all cores": lambda: _soaked(target),
    }
    for name, run in runs.items():
        rates = sorted(run() for _ in range(_ROUNDS))
        print(f"{name}: {rates[1]:,.0f} a second (of {', '.join(f'{rate:,.0f}' for rate in rates)})")


if __name__ == "__main__":
    main()
