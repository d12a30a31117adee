"""Children of the kit that are threads of this process."""

from __future__ import annotations

import pytest

from tests.unit.allocators import Children


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every child of the kit be a thread, and let none be given much time."""
    monkeypatch.setattr("coalloc.testing.isolate._CONTEXT", Children())
    monkeypatch.setattr("coalloc.testing.isolate._STARTING", 60.0)
    monkeypatch.setattr("coalloc.testing.isolate.LINE_BOUND", 300)
