"""`GIANT`: Giant, the global kernel lock: it comes before every mutex and is dropped while its holder sleeps."""

from __future__ import annotations

from typing import Final

from coalloc.sched.locks import Lock

__all__ = ["GIANT"]

GIANT: Final = Lock("Giant", address=0xC0937960, recursable=True, dropped_by_sleepers=True)
"""Giant, at the address that the mail freebsd-current 2004-January/020191 shows."""
