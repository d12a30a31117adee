"""The subject under test: a factory ``make_space(source, kva_limit=...)``, its optional arguments, and its contract."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import attrs

from coalloc.contract import Capability, Contract, capabilities_of
from coalloc.errors import InvalidRequestError
from coalloc.testing.lines import bound_lines
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import WatchedSource
from coalloc.testing.steps import Step, World

__all__ = ["MakeSpace", "Subject", "accepted", "capabilities", "make"]

MakeSpace = Callable[..., Any]
"""A factory; it gets a source, ``kva_limit=`` in bytes and, if it accepts them, ``arena_size=`` in bytes and others."""


def accepted(make_space: MakeSpace) -> frozenset[str]:
    """Return the names of the keyword arguments that a factory accepts."""
    try:
        return _accepted(make_space)
    except TypeError:  # it cannot be hashed
        return _accepted.__wrapped__(make_space)


@functools.lru_cache(maxsize=64)
def _accepted(make_space: MakeSpace) -> frozenset[str]:
    bound = frozenset(make_space.keywords) if isinstance(make_space, functools.partial) else frozenset()
    try:
        parameters = inspect.signature(make_space).parameters.values()
    except (TypeError, ValueError):
        return frozenset({"kva_limit"})
    names = frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        names |= {"kva_limit"}
    return names - bound


def make(make_space: MakeSpace, world: World) -> tuple[WatchedSource, Any]:
    """Make an allocator in its world.

    Raises:
        Breach: If the factory raises.
    """
    granule = world.granule
    source = WatchedSource(base=world.base, size=world.room * granule, granule=granule, order=world.order)
    keywords: dict[str, object] = dict(world.options)
    names = accepted(make_space)
    if "kva_limit" in names:
        keywords["kva_limit"] = world.kva_limit
    if "arena_size" in names and (world.arena or _needs(make_space, "arena_size")):
        keywords["arena_size"] = (world.arena or world.limit) * granule
    try:
        return source, make_space(source, **keywords)
    except Breach:
        raise
    except Exception as error:
        raise Breach(Property.P14, f"the space could not be made: {type(error).__name__}: {error}") from error


def _needs(make_space: MakeSpace, name: str) -> bool:
    """Tell whether a factory has an argument without a default."""
    parameter = inspect.signature(make_space).parameters[name]
    return parameter.default is parameter.empty


def _nobody() -> None:
    """Tell nobody."""


@attrs.frozen
class Subject:
    """The allocator under test, its contract, and how closely it is watched.

    Args:
        make_space: The factory that makes the allocator.
        contract: The contract to check; None takes the contract that each allocator declares.
        deep_every: Compare everything that can be seen, and not only the answer, once in so many steps.
        line_bound: The most lines of Python that one call may run; 0 sets no bound.
        on_world: Called with every world before an allocator is made in it.
        on_step: Called with every step before it is done.
        on_call: Called before each call of a long check without a judge, as a sign that the allocator does not hang.
    """

    make_space: MakeSpace
    contract: Contract | None = None
    deep_every: int = 1
    line_bound: int = 0
    on_world: Callable[[World], None] | None = None
    on_step: Callable[[Step], None] | None = None
    on_call: Callable[[], None] = _nobody

    def bounded(self, call: Callable[[], Any]) -> Any:
        """Make a call, and stop it when it has run more lines than ``line_bound``."""
        if not self.line_bound:
            return call()
        with bound_lines(self.line_bound, Breach(Property.P17, "a call does not return")):
            return call()

    def contract_of(self, space: object) -> Contract:
        """Return the contract to check an allocator against.

        Raises:
            InvalidRequestError: If the allocator declares no contract and none was given.
        """
        try:
            contract = self.contract or getattr(space, "contract", None)
        except Exception as error:
            raise Breach(Property.P14, f"its contract raised {type(error).__name__}") from error
        if contract is not None and not isinstance(contract, Contract):
            raise InvalidRequestError("contract", contract, "the allocator declares something that is no Contract")
        if contract is None:
            raise InvalidRequestError("contract", contract, "the allocator declares none, so one must be given")
        return contract

    @property
    def declared(self) -> Contract:
        """The contract to check, taken from an allocator in a default world unless one was given."""
        return self.contract_of(make(self.make_space, World())[1])

    @property
    def nature(self) -> tuple[Contract, int]:
        """The contract to check and the quantum, of an allocator in a default world."""
        space = make(self.make_space, World())[1]
        quantum = getattr(space, "quantum", World().granule)
        return self.contract_of(space), quantum if type(quantum) is int and quantum > 0 else World().granule

    @property
    def accepted(self) -> frozenset[str]:
        """The names of the keyword arguments that the factory accepts."""
        return accepted(self.make_space)


def capabilities(subject: Subject) -> frozenset[Capability]:
    """Return what an allocator in a default world can do, or nothing if it cannot be made."""
    try:
        return capabilities_of(make(subject.make_space, World())[1])
    except Breach:
        return frozenset()
