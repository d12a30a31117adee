"""`Scenario`: a run over everything below, declared as data: its name, its options, and what runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.scenarios.options import Option
from coalloc.scenarios.progress import Progress, Silent
from coalloc.scenarios.result import Result

__all__ = ["Scenario"]


@attrs.frozen
class Scenario:
    """One scenario.

    Args:
        name: Its name, which is also its command's.
        help: What it shows; the first paragraph is what lists show.
        run: Runs it.  It is called with a :class:`~coalloc.scenarios.progress.Progress` and with one keyword argument for each
            option, and returns a :class:`~coalloc.scenarios.result.Result`.
        options: What it may be given, in the order in which help shows it.
        rank: Where it stands in lists: lower ranks first, equal ranks in the order in which they were found.

    >>> from coalloc.scenarios.registry import SCENARIOS
    >>> print(SCENARIOS["fstat"].call(era="current", designs="vmem").text())
    fstat: st_size is what the next read gets, with a direct write, too
    <BLANKLINE>
    era      design        what happened
    current  vmem    pass
    """

    name: str
    help: str = attrs.field(converter=inspect.cleandoc)
    run: Callable[..., Result]
    options: tuple[Option, ...] = ()
    rank: int = 100

    def read(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return the value of each option, by its name.

        Args:
            given: What was given, by the options' names; the default holds for what was not.

        Raises:
            InvalidRequestError: For a name that is no option's, or something that cannot be read.
        """
        names = [option.name for option in self.options]
        for name in given:
            if name not in names:
                raise InvalidRequestError(name, given[name], f"{self.name} takes {', '.join(names) or 'no options'}")
        return {option.name: option.read(given.get(option.name, option.default)) for option in self.options}

    def call(self, **given: object) -> Result:
        """Run the scenario without a command line.

        Args:
            given: What the options are given, as on a command line or as values of their kinds.

        Raises:
            InvalidRequestError: As :meth:`read`, and as the run does.
        """
        return self.start(self.read(given))

    def start(self, values: Mapping[str, Any], progress: Progress | None = None) -> Result:
        """Run the scenario with values that were read.

        Args:
            values: What :meth:`read` returned.
            progress: Shows how far it is; nothing is shown if None.

        Raises:
            InvalidRequestError: If a value is out of its range.
        """
        return self.run(Silent() if progress is None else progress, **values)
