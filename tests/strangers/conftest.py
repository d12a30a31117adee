"""The import path is after each test what it was before."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the folders from which a test imports allocators."""
    monkeypatch.setattr(sys, "path", [*sys.path])
