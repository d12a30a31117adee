"""Allocators that nobody here wrote, held to the level that they keep."""
