"""`KernelConfig`: what surrounds the pipe code in each era, as data; mechanisms read its fields.

Source: FreeBSD kern/sys_pipe.c, kern/kern_descrip.c, kern/subr_witness.c and vm/uma_core.c of each era, and the commit
4795b82c13 of 1 February 2004.  Where these do not show the state of an era, the field says so beside its value.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from coalloc.kernel.fdtable import LAYOUTS, FdLayout, OldTable
from coalloc.pipes.eras import ERAS, Era
from coalloc.sched.witness import RULES, WitnessRules

__all__ = ["BEFORE_PAIRS", "CONFIGS", "FIXES", "FiledescLock", "KernelConfig"]


class FiledescLock(enum.Enum):
    """What locks the descriptor table of a process."""

    MUTEX = "a mutex"
    FLAG = "a flag for the long term; the mutex only guards the flag"
    SX = "a lock whose holder may sleep"


@attrs.frozen
class KernelConfig:
    """One state of the kernel.

    Args:
        era: Of the pipe code.
        fd: How descriptors are kept.
        filedesc_lock: How they are locked.
        witness: The rules of the lock-order checker.
        pair_zone: Whether both halves and their mutex are one item of one zone; otherwise two of a zone, and the mutex is
            allocated and initialised for each pipe.
        giant_frees: Whether freeing a large piece of memory takes Giant (uma_large_free).
        giant_faults: Whether a page fault takes Giant.
        giant_pipespace: Whether mapping a buffer takes Giant.
    """

    era: Era
    fd: FdLayout
    filedesc_lock: FiledescLock
    witness: WitnessRules
    pair_zone: bool
    giant_frees: bool
    giant_faults: bool
    giant_pipespace: bool

    @property
    def name(self) -> str:
        """The era's name."""
        return self.era.name


_BITMAP: Final = LAYOUTS["bitmap"]

_JANUARY_2004: Final = KernelConfig(
    era=ERAS["2004-01"],
    fd=_BITMAP,
    filedesc_lock=FiledescLock.MUTEX,
    witness=RULES["2004"],
    pair_zone=True,  # the commit of 31 January, 21:56 in California
    giant_frees=True,
    giant_faults=True,  # vm_fault_unwire needs Giant; that vm_fault does is assumed
    giant_pipespace=False,
)

CONFIGS: Final[Mapping[str, KernelConfig]] = {
    config.era.name: config
    for config in (
        attrs.evolve(
            _JANUARY_2004,
            era=ERAS["2003-07"],
            fd=LAYOUTS["4.4bsd"],  # frees the old table after the lock: no source shows it, B54 asks for no report
            pair_zone=False,
            giant_pipespace=True,
        ),
        _JANUARY_2004,
        attrs.evolve(
            _JANUARY_2004,
            era=ERAS["2006"],
            filedesc_lock=FiledescLock.FLAG,
            witness=RULES["2006"],
            giant_faults=False,  # no source shows it; nothing here rests on it
        ),
        *(
            attrs.evolve(
                _JANUARY_2004,
                era=ERAS[name],
                fd=attrs.evolve(LAYOUTS["bitmap-64"], old_table=OldTable.KEPT),
                filedesc_lock=FiledescLock.SX,
                witness=RULES["2008"],
                giant_frees=False,
                giant_faults=False,
            )
            for name in ("10.x", "current")
        ),
    )
}
"""The configurations by the names of their eras, oldest first."""

BEFORE_PAIRS: Final = attrs.evolve(_JANUARY_2004, pair_zone=False)
"""January 2004 before the commit that made a pair one item of one zone."""

FIXES: Final[Mapping[str, KernelConfig]] = {
    "free-after-unlock": attrs.evolve(_JANUARY_2004, fd=attrs.evolve(_BITMAP, old_table=OldTable.FREED_AFTER)),
    "keep-old-tables": attrs.evolve(_JANUARY_2004, fd=attrs.evolve(_BITMAP, old_table=OldTable.KEPT)),
    "long-term-flag": attrs.evolve(_JANUARY_2004, filedesc_lock=FiledescLock.FLAG),
}
"""January 2004 with each of the ways in which the reversal could have been avoided (B41)."""
