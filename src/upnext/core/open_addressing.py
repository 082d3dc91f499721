"""Where an id stands in a hash table with open addressing, for compiled loops.

An id starts at the place that its multiplicative hash gives it and goes on to the next one while a stranger stands there (Knuth, The Art of
Computer Programming, volume 3, section 6.4). With four places an id the first look is nearly always enough, and a table of one request's ids
stays in the processor's nearest caches. Callers in other modules keep machine code of their own: after a change here it has to be made anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.compiled import compiled

_KEY: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, odd
_HALF: Final = np.uint64(32)


@compiled
def n_places_for(n: int) -> int:
    """Places of a table for n ids; at least two of them stay free."""
    return 4 * n + 2


@compiled
def first_place(item_id: int, n_places: int) -> int:
    """Where the search for an id starts, 0 to n_places - 1: the upper 32 bits of its hash, as a share of the table."""
    hashed = (np.uint64(item_id) * _KEY) >> _HALF
    return int(
        np.int64((hashed * np.uint64(n_places)) >> _HALF)
    )  # signed: mixed with signed ones it would be a float


@compiled
def next_place(place: int, n_places: int) -> int:
    """The place after this one, round the end of the table."""
    return place + 1 if place + 1 < n_places else 0
