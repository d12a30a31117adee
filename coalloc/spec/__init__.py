"""The executable specification: pure functions over plain values that say what an allocator may do; it keeps no state.

The free quanta of an arena are the bits of one int.  Whether a range is free, lies in one arena, or admits a request, and
where, are then a few operations on ints.  Read the modules in this order:

* :mod:`~coalloc.spec.quanta`: sets of quanta as ints;
* :mod:`~coalloc.spec.sizes`: how many bytes a request occupies, and size classes;
* :mod:`~coalloc.spec.state`: arenas and their holes, and what taking and giving a range makes of them;
* :mod:`~coalloc.spec.places`: which places of an arena admit a request, under all constraints;
* :mod:`~coalloc.spec.fits`: which of the places each fit takes;
* :mod:`~coalloc.spec.refusals`: what may be refused, and which rule keeps a request out of a hole.

Nothing here is shared with a design: no helper, no method, only plain data (contracts, bounds, errors, units).  So one bug
cannot stand on both sides of a comparison.
"""

from coalloc.spec.fits import choices, mirrored
from coalloc.spec.places import BARE, Frame, admissible, lawful, lowest_in, place_in, places, possible
from coalloc.spec.refusals import must_serve, rule_against, sure_arena
from coalloc.spec.sizes import footprint, occupied, round_to, size_class, sure_size
from coalloc.spec.state import Arena, State, arena_at, enter, give, holes_in, is_free, leave, take

__all__ = [
    "BARE",
    "Arena",
    "Frame",
    "State",
    "admissible",
    "arena_at",
    "choices",
    "enter",
    "footprint",
    "give",
    "holes_in",
    "is_free",
    "lawful",
    "leave",
    "lowest_in",
    "mirrored",
    "must_serve",
    "occupied",
    "place_in",
    "places",
    "possible",
    "round_to",
    "rule_against",
    "size_class",
    "sure_arena",
    "sure_size",
    "take",
]
