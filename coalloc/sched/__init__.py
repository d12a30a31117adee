"""Threads on CPUs: locks, lock order and lock profiles, schedules and those who choose them, simulated time; knows no pipe.

Names are imported from the modules: pipes need only the clock, and should not have to load the rest.  What a program with
threads needs can also be imported from :mod:`coalloc.kernel`.
"""
