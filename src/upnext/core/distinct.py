"""The different ids of an array in order of first appearance: one pass over a hash table, where numpy.unique sorts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, n_places_for, next_place

_Int64 = npt.NDArray[np.int64]


@compiled
def distinct(ids: _Int64) -> tuple[_Int64, _Int64]:
    """(first int64[m] ascending, number int64[n]) of ids int64[n]: where each different id stands first, and which of them each is.

    So `ids[first][number] == ids`."""
    table = np.full(n_places_for(len(ids)), -1, np.int32)  # numbers of the ids that stand there
    first, number = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    n_found = 0
    for i in range(len(ids)):
        place = first_place(ids[i], len(table))
        while table[place] >= 0 and ids[first[table[place]]] != ids[i]:
            place = next_place(place, len(table))
        if table[place] < 0:
            table[place] = n_found
            first[n_found] = i
            n_found += 1
        number[i] = table[place]
    return first[:n_found], number


@compiled
def place(column: npt.NDArray[np.float32], rows: _Int64, values: npt.NDArray[Any]) -> None:
    """Writes values [m] into some rows int64[m] of a column: numpy's own indexed writing has several times the overhead."""
    for i in range(len(rows)):
        column[rows[i]] = values[i]
