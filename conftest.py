"""Run the Python in README and docs as tests."""

from __future__ import annotations

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()

collect_ignore_glob = [
    "docs/examples/*",
    "docs/conf.py",
]  # tests/golden runs the examples, and compares what they print


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the pages first.

    The examples of a page share their names, and so need one process.  Processes of pytest-xdist begin with equal parts of the
    list and take from each other's ends, so a page in the first part stays whole.
    """
    items.sort(key=lambda item: item.path.suffix != ".md")
