"""Replay for `benchmarks.replay`, with whatever tree of the package PYTHONPATH names; run as a process of its own.

Reads names of designs from stdin, a line each, and answers with a JSON object: the seconds of processor time that the replay
took, and what was counted, by name.
"""

from __future__ import annotations

import json
import sys
import time

import attrs

from coalloc import DESIGNS, ERAS, bundled_build, overlay, replay


def main(copies: int, era: str, seed: int) -> None:
    """Answer until stdin ends."""
    program = overlay(bundled_build(), copies, 88_000_000, seed)
    print(len(program), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        outcome = replay(program, DESIGNS[line.strip()], era=ERAS[era], limit=64 << 20)
        seconds = time.process_time() - start
        print(json.dumps({"seconds": seconds, "outcome": attrs.asdict(outcome)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
