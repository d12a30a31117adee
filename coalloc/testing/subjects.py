"""The correct spaces of this library as subjects of the kit, by name; the mutants are made from them.

Their caches are small, so that tiny programs fill them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from coalloc.contract import EAGER, NEVER, RETAIN, Fit, Release
from coalloc.space.buddy import BuddySpace
from coalloc.space.cached import CachedSpace
from coalloc.space.coalescing import CoalescingSpace
from coalloc.space.perpipe import PerPipeSpace
from coalloc.space.vmem import Imports, VmemSpace
from coalloc.testing.subject import MakeSpace
from coalloc.units import MiB
from coalloc.vm.source import Source

__all__ = ["SUBJECTS"]

_ONE: Final = RETAIN(1)


_FITS: Final = (Fit.FIRST, Fit.NEXT, Fit.INSTANT, Fit.CLASS_BEST)
"""The fits of the reference beside BEST."""


def _coalescing(fit: Fit, *, cache: int = 0, release: Release = _ONE) -> MakeSpace:
    """Make a factory of coalescing spaces with a cache of so many quanta; the explorer may override cache and release."""

    def make_space(
        source: Source,
        *,
        kva_limit: int,
        arena_size: int = 4 * MiB,
        quantum: int = 4096,
        quantum_cache: int | None = None,
        release: Release = release,
    ) -> CoalescingSpace:
        return CoalescingSpace(
            source,
            kva_limit=kva_limit,
            arena_size=arena_size,
            quantum=quantum,
            fit=fit,
            quantum_cache=cache * quantum if quantum_cache is None else quantum_cache,
            release=release,
        )

    return make_space


def _vmem(strategy: Fit, *, cache: int = 0, imports: Imports = Imports.KERNEL) -> MakeSpace:
    def make_space(
        source: Source,
        *,
        kva_limit: int,
        arena_size: int | None = None,
        quantum: int = 4096,
        quantum_cache: int | None = None,
        strategy: Fit = strategy,
    ) -> VmemSpace:
        return VmemSpace(
            source,
            kva_limit=kva_limit,
            import_quantum=arena_size,
            quantum=quantum,
            strategy=strategy,
            qcache_max=cache * quantum if quantum_cache is None else quantum_cache,
            imports=imports,
        )

    return make_space


def _dragonfly(source: Source, *, kva_limit: int) -> CachedSpace:
    granule = source.granule
    return CachedSpace(PerPipeSpace(source, kva_limit=kva_limit), sizes=[granule, 2 * granule], depth=3)


def _netbsd(source: Source, *, kva_limit: int) -> CachedSpace:
    granule = source.granule
    return CachedSpace(PerPipeSpace(source, kva_limit=kva_limit), sizes=[granule, 2 * granule], depth=None)


def _cache_over_arenas(source: Source, *, kva_limit: int, arena_size: int = 4 * MiB) -> CachedSpace:
    below = CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size)
    return CachedSpace(below, sizes=[source.granule, 2 * source.granule], depth=4)


SUBJECTS: Final[Mapping[str, MakeSpace]] = {
    "coalescing": _coalescing(Fit.BEST),
    "coalescing+cache": _coalescing(Fit.BEST, cache=2),
    **{f"{fit.value}-fit": _coalescing(fit) for fit in _FITS},
    **{f"{fit.value}-fit+cache": _coalescing(fit, cache=2) for fit in _FITS},
    "eager": _coalescing(Fit.BEST, release=EAGER),
    "retain-2": _coalescing(Fit.BEST, release=RETAIN(2)),
    "never": _coalescing(Fit.BEST, release=NEVER),
    "per-pipe": PerPipeSpace,
    "buddy": BuddySpace,
    "vmem": _vmem(Fit.INSTANT),
    "vmem-bestfit": _vmem(Fit.CLASS_BEST),
    "vmem-nextfit": _vmem(Fit.NEXT),
    "vmem+qcache": _vmem(Fit.INSTANT, cache=2),
    "vmem-sure": _vmem(Fit.INSTANT, imports=Imports.SURE),
    "vmem-sure+qcache": _vmem(Fit.INSTANT, cache=2, imports=Imports.SURE),
    "dragonfly": _dragonfly,
    "netbsd": _netbsd,
    "cache-over-arenas": _cache_over_arenas,
}
"""Factories by name."""
