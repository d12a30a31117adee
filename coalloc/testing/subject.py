"""How the kit makes the allocator under test: a factory ``make_space(source, kva_limit=...)`` and what else it takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import attrs

from coalloc.contract import Contract
from coalloc.errors import InvalidRequestError
from coalloc.testing.lines import bound_lines
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import WatchedSource
from coalloc.testing.steps import Step, World

__all__ = ["MakeSpace", "Subject", "accepted", "make"]

MakeSpace = Callable[..., Any]
"""Is called with a source, ``kva_limit=`` in bytes and, where it takes them, ``arena_size=`` in bytes and others."""


def accepted(make_space: MakeSpace) -> frozenset[str]:
    """Return the names of the keyword arguments that a factory leaves open."""
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
        Breach: If it cannot be made.
    """
    granule = world.granule
    source = WatchedSource(base=world.base, size=world.room * granule, granule=granule)
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
    """What is under test, and how closely it is watched.

    Args:
        make_space: Makes the allocator.
        contract: What it is held to; what each one made declares if None.
        deep_every: After so many steps everything that can be seen is compared, not only the answer.
        line_bound: The most lines that one call may run in the interpreter; 0 does not count them.
        on_world: Is told of every world before an allocator is made in it.
        on_step: Is told of every step before it is done.
        on_call: Is called before each call of a long check that no judge stands beside: the allocator is at work, not hanging.
    """

    make_space: MakeSpace
    contract: Contract | None = None
    deep_every: int = 1
    line_bound: int = 0
    on_world: Callable[[World], None] | None = None
    on_step: Callable[[Step], None] | None = None
    on_call: Callable[[], None] = _nobody

    def bounded(self, call: Callable[[], Any]) -> Any:
        """Make a call, broken off when it has run more lines than it may."""
        if not self.line_bound:
            return call()
        with bound_lines(self.line_bound, Breach(Property.P17, "a call does not return")):
            return call()

    def contract_of(self, space: object) -> Contract:
        """Return what an allocator is held to.

        Raises:
            InvalidRequestError: If it declares nothing, and nothing was given.
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
    def unwatched(self) -> Subject:
        """The same, with nobody told: what tells may not be something that can be copied."""
        return attrs.evolve(self, on_world=None, on_step=None, on_call=_nobody)

    @property
    def declared(self) -> Contract:
        """What an allocator made in a usual world is held to."""
        return self.contract_of(make(self.make_space, World())[1])

    @property
    def accepted(self) -> frozenset[str]:
        """The names of the keyword arguments that the factory leaves open."""
        return accepted(self.make_space)
