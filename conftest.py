"""Run the Python in README and docs as tests."""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()

collect_ignore_glob = [
    "docs/examples/*",
    "docs/conf.py",
]  # tests/golden runs the examples, and compares what they print
