"""Measurements: run by hand, side by side in one run, never as part of the tests."""
