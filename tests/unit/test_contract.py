"""Contracts."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import EAGER, NEVER, RETAIN, InvalidRequestError


def test_release_rules_say_themselves() -> None:
    """EAGER keeps none, RETAIN(n) n, NEVER all."""
    assert [str(rule) for rule in (EAGER, RETAIN(3), NEVER)] == ["eager", "retain(3)", "never"]
    assert RETAIN(0) == EAGER


@pytest.mark.parametrize("n", [-1, 1.0, True, "1"])
def test_a_release_rule_keeps_a_number_of_arenas(n: Any) -> None:
    """Other values are refused."""
    with pytest.raises(InvalidRequestError):
        RETAIN(n)
