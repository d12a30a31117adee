"""Contracts."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import EAGER, NEVER, RETAIN, InvalidRequestError


def test_release_rules_say_themselves() -> None:
    """A release rule's text names the rule, and RETAIN(0) equals EAGER."""
    assert [str(rule) for rule in (EAGER, RETAIN(3), NEVER)] == ["eager", "retain(3)", "never"]
    assert RETAIN(0) == EAGER


@pytest.mark.parametrize("n", [-1, 1.0, True, "1"])
def test_a_release_rule_keeps_a_number_of_arenas(n: Any) -> None:
    """RETAIN takes only an int >= 0."""
    with pytest.raises(InvalidRequestError):
        RETAIN(n)
