"""`DESIGNS`: the designs by name, and :func:`find`, which knows every TARGET that a command takes.

A TARGET is a registered name (``vmem``), ``package.module:name``, ``file.py:name``, or what an installed package offers by the
entry-point group ``coalloc.designs``: the conformance kit's further subjects (``next-fit``) and mutants (``M3``) come that way.
What is named may be a :class:`~coalloc.pipes.design.Design`, or a factory ``make_space(source, *, kva_limit)``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from attrs import evolve

from coalloc.contract import NEVER, Fit
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.native import is_native, native_target
from coalloc.pipes.design import PER_PIPE, Design
from coalloc.pipes.eras import BIG_PIPE_SIZE, PIPE_SIZE, KernelState
from coalloc.pipes.states import KERNELS
from coalloc.space.buddy import BuddySpace
from coalloc.space.cached import CachedSpace
from coalloc.space.coalescing import CoalescingSpace
from coalloc.space.perpipe import PerPipeSpace
from coalloc.space.protocol import Space
from coalloc.space.vmem import Imports, VmemSpace
from coalloc.vm.kernelmap import KernelMap

__all__ = ["DESIGNS", "GROUP", "Registry", "attribute", "find", "find_designs", "load", "of_factory"]

GROUP: Final = "coalloc.designs"
"""The group of entry points by which packages offer designs."""


def _made(
    maker: Callable[..., Space],
    fixed: Mapping[str, object],
    _state: KernelState,
    kernel: KernelMap,
    limit: int,
    **settings: object,
) -> Space:
    """Make a space with what is fixed, unless it is set otherwise."""
    return maker(kernel, kva_limit=limit, **{**fixed, **settings})


def _by(maker: Callable[..., Space], **fixed: object) -> Callable[..., Space]:
    return partial(_made, maker, fixed)


def _dragonfly(_state: KernelState, kernel: KernelMap, limit: int, *, depth: int = 16) -> Space:
    return CachedSpace(PerPipeSpace(kernel, kva_limit=limit), sizes=[PIPE_SIZE], depth=depth, ncpus=kernel.cpus)


def _dragonfly_2017(_state: KernelState, kernel: KernelMap, limit: int, *, depth: int = 32) -> Space:
    return CachedSpace(PerPipeSpace(kernel, kva_limit=limit), sizes=[2 * PIPE_SIZE], depth=depth, ncpus=kernel.cpus)


def _netbsd(_state: KernelState, kernel: KernelMap, limit: int) -> Space:
    return CachedSpace(PerPipeSpace(kernel, kva_limit=limit), sizes=[PIPE_SIZE], depth=None)


def _direct_map(_state: KernelState, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=limit, fit=Fit.FIRST, release=NEVER)


def _blocks(_state: KernelState, kernel: KernelMap, limit: int) -> Space:
    return CoalescingSpace(kernel, kva_limit=limit, arena_size=limit, quantum=16, fit=Fit.FIRST, release=NEVER)


_BUILT_IN: Final = (
    PER_PIPE,
    Design(
        "coalescing",
        "carved from 4 MiB arenas, best fit, coalesced at once",
        _by(CoalescingSpace),
        resize_in_place=True,
        maker=CoalescingSpace,
    ),
    Design(
        "coalescing+cache",
        "the same with a quantum cache up to 64 KiB",
        _by(CoalescingSpace, quantum_cache=BIG_PIPE_SIZE),
        resize_in_place=True,
        maker=CoalescingSpace,
    ),
    Design(
        "first-fit",
        "carved from 4 MiB arenas, first fit, coalesced at once",
        _by(CoalescingSpace, fit=Fit.FIRST),
        resize_in_place=True,
        maker=CoalescingSpace,
    ),
    Design("buddy", "blocks of a power of two, from 4 MiB arenas", _by(BuddySpace), maker=BuddySpace),
    Design(
        "vmem",
        "FreeBSD's vmem: instant fit, quantum caches up to 16 KiB, 4 MiB imports",
        _by(VmemSpace, qcache_max=PIPE_SIZE),
        maker=VmemSpace,
    ),
    Design(
        "vmem-sure",
        "vmem whose imports always suffice, or are given back",
        _by(VmemSpace, qcache_max=PIPE_SIZE, imports=Imports.SURE),
        maker=VmemSpace,
    ),
    Design(
        "dragonfly",
        "DragonFly of 2004: one mapping per buffer, 16 kept with their KVA on each CPU",
        _dragonfly,
        state=KERNELS["dragonfly-2004"],
        one_by_one=True,
    ),
    Design(
        "dragonfly-2017",
        "DragonFly since 2017: two buffers of 32 KiB in a pipe, 16 pipes kept with their KVA on each CPU",
        _dragonfly_2017,
        state=KERNELS["dragonfly-2017"],
        one_by_one=True,
    ),
    Design(
        "netbsd",
        "NetBSD of 2009: KVA kept with the cached object",
        _netbsd,
        state=KERNELS["netbsd-2009"],
        one_by_one=True,
    ),
    Design(
        "openbsd",
        "OpenBSD: one mapping per buffer, no limit",
        PER_PIPE.make_space,
        state=KERNELS["openbsd"],
        one_by_one=True,
    ),
    Design(
        "illumos",
        "illumos: a block from a cache for each write, freed when it is read",
        _blocks,
        state=KERNELS["illumos"],
    ),
    Design(
        "xnu",
        "XNU: one allocation for each buffer, of 512 bytes to 64 KiB",
        PER_PIPE.make_space,
        state=KERNELS["xnu"],
        one_by_one=True,
    ),
    Design(
        "linux",
        "Linux: a ring of pages from the direct map, taken when written",
        _direct_map,
        state=KERNELS["linux"],
    ),
)


class Registry(Mapping[str, Design]):
    """Designs by name; the first is what the others are compared with.

    Args:
        designs: Those that are always there.
    """

    def __init__(self, designs: Iterable[Design]) -> None:
        self._designs = {design.name: design for design in designs}
        self._offered: dict[str, Design] | None = None

    def __getitem__(self, name: str) -> Design:
        return self._designs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._designs)

    def __len__(self) -> int:
        return len(self._designs)

    def register(self, design: Design) -> Design:
        """Add a design, and return it.

        Raises:
            InvalidRequestError: If its name is taken.
        """
        if design.name in self._designs:
            raise InvalidRequestError("name", design.name, "there is a design of this name already")
        self._designs[design.name] = design
        return design

    def unregister(self, name: str) -> None:
        """Take back a design that :meth:`register` added."""
        del self._designs[name]

    def offered(self) -> Mapping[str, Design]:
        """Return what installed packages offer, by name; it is looked for once."""
        if self._offered is None:
            from importlib.metadata import entry_points  # here, since it is slow to import and few need it

            self._offered = {
                design.name: design
                for point in entry_points(group=GROUP)
                for design in _several(point.name, point.load)
            }
        return self._offered


def _several(name: str, load: Callable[[], Any]) -> tuple[Design, ...]:
    """Load what an entry point offers: one design, a factory, or several designs."""
    try:
        offered = load()
    except Exception as error:
        raise CoallocError(f"the design {name} cannot be loaded: {error}") from error
    if callable(offered):
        return (of_factory(name, offered),)
    several = tuple(offered) if isinstance(offered, Iterable) else (offered,)
    if not all(isinstance(design, Design) for design in several):
        raise CoallocError(f"{name} is no design")
    return several


DESIGNS: Final = Registry(_BUILT_IN)
"""The designs by name."""


def of_factory(name: str, factory: Callable[..., Any]) -> Design:
    """Return the design that a factory ``make_space(source, *, kva_limit)`` makes."""
    first_line = ((factory.__doc__ or "").strip() or name).splitlines()[0]
    return Design(name, first_line, _by(factory), subject=factory, maker=factory)


def find(text: str, option: str = "TARGET") -> Design:
    """Return the design that a TARGET names.

    Args:
        text: The name.
        option: What the name was given for, for errors.

    Raises:
        InvalidRequestError: If there is none; a name that is nearly right is suggested.

    >>> find("vmem").name
    'vmem'
    """
    if text in DESIGNS:
        return DESIGNS[text]
    if is_native(text):
        made = native_target(text, option)
        return evolve(of_factory(text, made), subject=made.for_kit())
    if ":" in text:
        loaded = load(text, option)
        return loaded if isinstance(loaded, Design) else of_factory(text, loaded)
    known = {**DESIGNS, **DESIGNS.offered()}
    if text not in known:
        near = get_close_matches(text, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(DESIGNS)}, and file.py:name"
        raise InvalidRequestError(option, text, f"is no design; {hint}")
    return known[text]


def find_designs(names: str, option: str = "designs") -> tuple[Design, ...]:
    """Return the designs of a comma-separated list of targets.

    Raises:
        InvalidRequestError: For a name that is unknown or stands twice, or an empty list.

    >>> [design.name for design in find_designs("per-pipe,coalescing")]
    ['per-pipe', 'coalescing']
    """
    found: list[Design] = []
    for name in (name.strip() for name in names.split(",")):
        design = find(name, option)
        if design.name in [other.name for other in found]:
            raise InvalidRequestError(option, name, "stands twice")
        found.append(design)
    return tuple(found)


def load(text: str, option: str = "TARGET") -> Design | Callable[..., Any]:
    """Find a factory, or a Design, by name: ``package.module:attribute``, or ``path/to/file.py:attribute``.

    Args:
        text: The name.
        option: What the name was given for, for errors.

    Raises:
        InvalidRequestError: If there is no such thing, or it cannot be called.
    """
    found = attribute(text, option)
    if not callable(found) and not isinstance(found, Design):
        where, _, name = text.rpartition(":")
        raise InvalidRequestError(option, text, f"{where} has no {name!r} that can be called")
    return found  # type: ignore[no-any-return]


def attribute(text: str, option: str = "TARGET") -> Any:  # noqa: ANN401 (whatever the module has)
    """Return what ``package.module:attribute`` or ``path/to/file.py:attribute`` names; None if the module has no such thing.

    Args:
        text: The name.
        option: What the name was given for, for errors.

    Raises:
        InvalidRequestError: If there is no such module, or it cannot be imported.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not name:
        raise InvalidRequestError(option, text, "must be package.module:attribute, or file.py:attribute")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except FileNotFoundError:
        raise InvalidRequestError(option, text, f"there is no file {where}") from None
    except ModuleNotFoundError as error:
        raise InvalidRequestError(option, text, str(error)) from None
    except (Exception, SystemExit) as error:
        raise InvalidRequestError(
            option, text, f"{where} cannot be imported: {type(error).__name__}: {error}"
        ) from None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _module_of_file(path: Path) -> ModuleType:
    """Import a file; once for each version of it, so that its classes are the same wherever they are met."""
    if not path.is_file():
        raise FileNotFoundError(path)
    path = path.resolve()
    return _imported(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=64)
def _imported(path: Path, _changed: int, _size: int) -> ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
