"""Sums by id in a hash table, for compiled loops: the neighbours of what a viewer watched, added up in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, n_places_for, next_place
from upnext.core.types import Array, Float64, Int64


class Sums(NamedTuple):
    """Ids with their sums so far, in order of first appearance."""

    table: Array  # int32[places]: which of the found stands there, -1 none
    found: Int64  # [m]
    total: Float64  # [m]


@compiled
def sums_for(n_at_most: int) -> Sums:
    """Room for as many different ids."""
    table = np.full(n_places_for(n_at_most), -1, np.int32)
    return Sums(table, np.empty(n_at_most, np.int64), np.empty(n_at_most))


@compiled
def add_to(sums: Sums, n_found: int, item_id: int, part: float) -> int:
    """Adds to an id's sum -> how many ids there are now."""
    place = first_place(item_id, len(sums.table))
    while sums.table[place] >= 0 and sums.found[sums.table[place]] != item_id:
        place = next_place(place, len(sums.table))
    if sums.table[place] < 0:
        sums.table[place] = n_found
        sums.found[n_found], sums.total[n_found] = item_id, 0.0
        n_found += 1
    sums.total[sums.table[place]] += part
    return n_found
