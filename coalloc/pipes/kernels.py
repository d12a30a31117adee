"""Other kernels' pipe policies, as the same data as FreeBSD's eras: DragonFly of 2004, NetBSD of 2009, OpenBSD, Linux.

What they put in front of the map is a space of its own (:mod:`coalloc.space.cached`).  What all three limit is the number of
big pipes; NetBSD's own limits on KVA (8 MiB, 16 MiB for loans) are not modelled, and what it counts as pipekva, which does not
fall at close, is what stays mapped here.  Linux is no variant of this policy (see :mod:`coalloc.pipes.linux`): of its entry
only what concerns the map is used.

Source: sys_pipe.c of DragonFly (commit fc7d518197), of NetBSD (1.110) and of OpenBSD; B50 to B52.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import attrs

from coalloc.pipes.eras import ERAS, Backing, Era

__all__ = ["KERNELS"]

_NO_MARK: Final = Fraction(2**40)
"""Buffers are never made small for want of address space."""

_DRAGONFLY: Final = attrs.evolve(
    ERAS["2003-07"],
    name="dragonfly-2004",
    title="DragonFly of February 2004: both halves backed, 32 big pipes, KVA cached on each CPU",
    small_above=_NO_MARK,
    message="",
    sysctls=(),
)
_NETBSD: Final = attrs.evolve(
    _DRAGONFLY,
    name="netbsd-2009",
    title="NetBSD of 2009: one direction, 32 big pipes, KVA kept with the cached object",
    reverse=Backing.NONE,
    one_way=True,  # so the write side never has a buffer
    findspace="tree",
)
_OPENBSD: Final = attrs.evolve(
    _DRAGONFLY,
    name="openbsd",
    title="OpenBSD: both halves backed, 32 big pipes, no limit on KVA",
    create_errno=errno.ENOMEM,
    findspace="tree",
)

_LINUX: Final = attrs.evolve(_OPENBSD, name="linux", title="Linux: a ring of pages, charged to the user")

KERNELS: Final[Mapping[str, Era]] = {era.name: era for era in (_DRAGONFLY, _NETBSD, _OPENBSD, _LINUX)}
"""The policies by name."""
