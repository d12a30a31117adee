"""Contracts as text, under the name that programs written out as Python import: see :mod:`coalloc.contract_text`."""

from coalloc.contract_text import describe_contract, parse_contract, parse_release

__all__ = ["describe_contract", "parse_contract", "parse_release"]
