"""Threads on CPUs: locks, lock order, lock profiles, schedules, drivers and simulated time; independent of pipes.

Import names from the modules of this package, so that pipes, which need only the clock, do not load the rest.
:mod:`coalloc.kernel` also offers the names that a program with threads needs.
"""
