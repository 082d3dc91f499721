"""Sums by id in a hash table, for compiled loops: the neighbours of what a viewer watched, added up in one pass.

A table of places leads to the number of an id, and ids and sums stand by number, close together: what is large holds four bytes a place, so all of it stays
in the near caches. Few additions meet a stranger in their place; but for that no branch depends on the data, because a new id and a known one
are written alike (a branch that is guessed wrongly costs as much as the whole addition).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, next_place
from upnext.core.types import Array, Float64


class Sums(NamedTuple):
    """Ids with their sums so far; number 0 is nobody's."""

    number: Array  # int32[places], 0 free
    item_id: Array  # int32[1 + m] by number
    total: Float64  # [1 + m] by number


@compiled
def sums_for(n_at_most: int) -> Sums:
    """Room for as many different ids, each below 2^31; half of the places stay free."""
    number = np.zeros(2 * n_at_most + 2, np.int32)
    return Sums(number, np.empty(1 + n_at_most, np.int32), np.zeros(1 + n_at_most))


@compiled
def add_to(sums: Sums, n_found: int, item_id: int, part: float) -> int:
    """Adds to an id's sum -> how many ids there are now."""
    place = first_place(item_id, len(sums.number))
    number = sums.number[place]
    while number and sums.item_id[number] != item_id:
        place = next_place(place, len(sums.number))
        number = sums.number[place]
    n_found += number == 0
    number = number if number else n_found
    sums.number[place] = number
    sums.item_id[number] = item_id
    sums.total[number] += part
    return n_found


@compiled
def found_in(sums: Sums, n_found: int) -> tuple[Array, Float64]:
    """(different ids int32[n_found] in order of first appearance, their sums float64[n_found])."""
    return sums.item_id[1 : n_found + 1], sums.total[1 : n_found + 1]
