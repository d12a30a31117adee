"""`Design`: a way to give pipes their buffers; it builds a kernel map, the space over it and the pipes over that.

Most designs follow the pipe policy of whatever kernel state is asked for; those that are another kernel's follow that kernel's
own.  The designs that there are, by name, are in :mod:`coalloc.designs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import Era, KernelState, LinuxState, StreamsState
from coalloc.pipes.linux import LinuxPipes
from coalloc.pipes.protocol import Pipes
from coalloc.pipes.states import STATES
from coalloc.pipes.streams import StreamsPipes
from coalloc.pipes.system import PipeSystem
from coalloc.sched.clock import SimClock
from coalloc.space.adapter import adapted
from coalloc.space.perpipe import PerPipeSpace
from coalloc.space.protocol import FullSpace
from coalloc.units import PAGE_SIZE, GiB, KiB, format_size, require_size, round_up
from coalloc.vm.kernelmap import KernelMap

__all__ = ["PER_PIPE", "Bench", "Design", "named", "pipes_of", "written"]

KERNEL_MAP_SIZE: Final = GiB
"""Bytes of the kernel map, for states without a submap for pipes (i386: 1 GiB of kernel address space)."""


@attrs.frozen
class Bench:
    """A kernel map and the space over it, ready for one replay."""

    kernel: KernelMap
    space: FullSpace


@attrs.frozen
class Design:
    """A way to give pipes their buffers.

    Args:
        name: What it is called.
        title: What it is, in words.
        make_space: Builds the space over a kernel map: state, map, limit in bytes, and by their names the parameters that
            are set.  What the space lacks of the protocol is made up for (:mod:`coalloc.space.adapter`).
        resize_in_place: Whether the pipe policy may let the space resize a buffer where it lies.
        state: The kernel state that belongs to it, in place of the one that is asked for; None where that holds.
        one_by_one: Whether buffers are mapped one by one, under the map's lock; a design with arenas has a lock of its own.
        subject: How the conformance kit makes it in worlds of a few pages: ``subject(source, kva_limit=...)``; by
            ``make_space`` if None.
        maker: Whose keyword parameters can be set; ``make_space`` if None.
        settings: The parameters that are set, with their values, in the order of their names.
    """

    name: str
    title: str
    make_space: Callable[..., Any]
    resize_in_place: bool = False
    state: KernelState | None = None
    one_by_one: bool = False
    subject: Callable[..., Any] | None = None
    maker: Callable[..., Any] | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    def policy(self, state: KernelState) -> KernelState:
        """Return the state that holds where a state is asked for."""
        return self.state or state

    def build(self, state: KernelState, limit: int, *, cpus: int = 2) -> Bench:
        """Build map and space on a machine of so many CPUs; a state with a submap for pipes has a map as large as the limit.

        Raises:
            InvalidRequestError: If the limit is less than a page.
        """
        if require_size(limit, "limit") < PAGE_SIZE:
            raise InvalidRequestError("limit", limit, f"must be at least a page, {PAGE_SIZE} bytes")
        policy = self.policy(state)
        whole = limit // PAGE_SIZE * PAGE_SIZE
        size = whole if policy.maxpipekva_is_hard else round_up(max(whole, KERNEL_MAP_SIZE), PAGE_SIZE)
        kernel = KernelMap(
            size=size,
            cpus=cpus,
            findspace=policy.findspace,
            direct=policy.direct,
            own_objects=policy.own_object and self.one_by_one,
        )
        return Bench(kernel, adapted(self.make_space(policy, kernel, size, **dict(self.settings)), kernel, limit=size))

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters that can be set, by name, the limit excepted: keywords, and others that have a default.

        Where what makes the space takes any keyword (``**settings``), that parameter is among them.
        """
        make = self.maker or self.make_space
        try:
            return _keywords(make)
        except TypeError:  # it cannot be hashed
            return _keywords.__wrapped__(make)

    def takes(self, name: str) -> bool:
        """Tell whether a parameter of this name can be set."""
        parameters = self.parameters
        return name in parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def configured(self, **settings: object) -> Design:
        """Return the design with parameters set; its name says which.

        Args:
            settings: Values by name; those that were set before stay, unless they are named again.

        Raises:
            InvalidRequestError: If the design has no such parameter.  Values are checked when the space is built.

        >>> PER_PIPE.configured().name
        'per-pipe'
        """
        for name in settings:
            if not self.takes(name):
                there = f"there are {', '.join(self.parameters)}" if self.parameters else "it has none"
                raise InvalidRequestError("settings", name, f"is no parameter of {self.name}; {there}")
        if not settings:
            return self
        both = {**dict(self.settings), **settings}
        plain = self.name.partition("(")[0] if self.settings else self.name
        return attrs.evolve(self, name=named(plain, both), settings=tuple(sorted(both.items())))

    def pipes(self, state: KernelState, space: FullSpace, limit: int, clock: SimClock | None = None) -> Pipes:
        """Build the pipe system over a space, with a clock of its own if there is none."""
        return pipes_of(self.policy(state), space, limit, clock, resize_in_place=self.resize_in_place)

    @property
    def factory(self) -> Callable[..., Any]:
        """What makes the space for the conformance kit: ``factory(source, kva_limit=...)``."""
        settings = dict(self.settings)
        if self.subject is not None:
            return partial(self.subject, **settings) if settings else self.subject
        state = self.state or STATES["current"]
        return lambda source, *, kva_limit: self.make_space(state, source, kva_limit, **settings)


@lru_cache(maxsize=64)  # a sweep asks for each of its settings, and a signature takes 0.1 ms
def _keywords(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return what ``Design.parameters`` promises of what makes a space."""
    try:
        signature = inspect.signature(make)
    except ValueError:  # some classes in C do not tell
        return MappingProxyType({})
    return MappingProxyType(
        {
            name: parameter
            for name, parameter in signature.parameters.items()
            if name != "kva_limit"
            and (
                parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
                or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty)
            )
        }
    )


def named(design: str, settings: Mapping[str, object]) -> str:
    """Write the name of a design with parameters set.

    >>> named("coalescing", {"quantum_cache": 65536, "arena_size": 4194304}), named("per-pipe", {})
    ('coalescing(arena_size=4M, quantum_cache=64K)', 'per-pipe')
    """
    words = ", ".join(f"{name}={written(value)}" for name, value in sorted(settings.items()))
    return f"{design}({words})" if words else design


def written(value: object) -> str:
    """Write the value of a parameter for a name: sizes with their unit, members of an Enum by their value."""
    if isinstance(value, Enum):
        return str(value.value)
    if type(value) is int and value and not value % KiB:
        return format_size(value).replace(" ", "").replace("iB", "")
    return str(value)


def pipes_of(
    state: KernelState, space: FullSpace, limit: int, clock: SimClock | None = None, *, resize_in_place: bool = False
) -> Pipes:
    """Build the pipes of a kernel state over a space.

    Args:
        state: Whose pipes.
        space: What gives them their buffers.
        limit: maxpipekva in bytes; Linux has none.
        clock: Tells the simulated time; one of its own if None.
        resize_in_place: Whether the space may resize a buffer where it lies; Linux never asks for that.

    Raises:
        InvalidRequestError: If no pipes are known for a record of this kind.
    """
    if isinstance(state, LinuxState):
        return LinuxPipes(space, clock=clock, state=state)
    if isinstance(state, StreamsState):
        return StreamsPipes(space, state, clock=clock)
    if isinstance(state, Era):
        return PipeSystem(space, state, maxpipekva=limit, clock=clock, resize_in_place=resize_in_place)
    raise InvalidRequestError("state", state, "is no kernel state whose pipes are known")


def _per_pipe(_state: KernelState, kernel: KernelMap, limit: int) -> FullSpace:
    return PerPipeSpace(kernel, kva_limit=limit)


PER_PIPE: Final = Design("per-pipe", "one mapping per buffer, as the kernels do", _per_pipe, one_by_one=True)
"""The baseline: what the others are compared with."""
