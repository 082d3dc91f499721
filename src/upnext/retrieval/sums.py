"""Sums by id in a hash table, for compiled loops: the neighbours of what a viewer watched, added up in one pass.

An addition touches two places, the id's and its sum's, in tables that are as small as they can be: what it costs is the misses of the nearest caches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, next_place
from upnext.core.types import Array, Float64, Int64


class Sums(NamedTuple):
    """Ids with their sums so far."""

    item_id: Array  # int32[places], -1 free
    total: Float64  # [places], only where an id stands
    taken: Array  # int32[m] places in order of first appearance


@compiled
def sums_for(n_at_most: int) -> Sums:
    """Room for as many different ids, each below 2^31; half of the places stay free."""
    n_places = 2 * n_at_most + 2
    item_id = np.full(n_places, -1, np.int32)
    return Sums(item_id, np.empty(n_places), np.empty(n_at_most, np.int32))


@compiled
def add_to(sums: Sums, n_found: int, item_id: int, part: float) -> int:
    """Adds to an id's sum -> how many ids there are now."""
    place = first_place(item_id, len(sums.item_id))
    while sums.item_id[place] >= 0:
        if sums.item_id[place] == item_id:
            sums.total[place] += part
            return n_found
        place = next_place(place, len(sums.item_id))
    sums.item_id[place], sums.total[place] = item_id, part
    sums.taken[n_found] = place
    return n_found + 1


@compiled
def found_in(sums: Sums, n_found: int) -> tuple[Int64, Float64]:
    """(different ids int64[n_found] in order of first appearance, their sums float64[n_found])."""
    ids, totals = np.empty(n_found, np.int64), np.empty(n_found)
    for i in range(n_found):
        ids[i], totals[i] = sums.item_id[sums.taken[i]], sums.total[sums.taken[i]]
    return ids, totals
