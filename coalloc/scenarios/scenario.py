"""`Scenario`: a run over all other packages, declared as data: its name, its options, and the function that runs it."""

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
        name: Its name, which is also that of its command.
        help: Its description; lists show the first paragraph.
        run: Runs it.  It is called with a :class:`~coalloc.scenarios.progress.Progress` and with one keyword argument for each
            option, and returns a :class:`~coalloc.scenarios.result.Result`.
        options: Its options, in the order in which help shows them.
        rank: Its place in lists: lower ranks come first, and equal ranks in the order in which they were found.

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
            given: The given values by option name; an option without one gets its default.

        Raises:
            InvalidRequestError: For an unknown option, or a value that cannot be read.
        """
        names = [option.name for option in self.options]
        for name in given:
            if name not in names:
                raise InvalidRequestError(name, given[name], f"{self.name} takes {', '.join(names) or 'no options'}")
        return {option.name: option.read(given.get(option.name, option.default)) for option in self.options}

    def call(self, **given: object) -> Result:
        """Run the scenario without a command line.

        Args:
            given: The options, as on a command line or as values of their kinds.

        Raises:
            InvalidRequestError: As :meth:`read`, and as the run does.
        """
        return self.start(self.read(given))

    def start(self, values: Mapping[str, Any], progress: Progress | None = None) -> Result:
        """Run the scenario with values that :meth:`read` returned.

        Args:
            values: The value of each option.
            progress: Shows how far the run is; None shows nothing.

        Raises:
            InvalidRequestError: If a value is out of its range.
        """
        return self.run(Silent() if progress is None else progress, **values)
