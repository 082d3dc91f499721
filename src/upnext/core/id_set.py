"""A set of ids that one request asks often: a hash table, so that a compiled loop asks for one id in a few instructions."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, n_places_for, next_place

_Int64 = npt.NDArray[np.int64]
_FREE: Final = np.int64(-(2**63))  # what a free place holds; no video has this id


class IdSet:
    """Ids by membership; immutable."""

    __slots__ = ("ids", "table")

    def __init__(self, ids: _Int64) -> None:
        """ids int64[m] above -2^63; repeats do no harm. `table` is what `holds` reads."""
        self.ids = ids
        self.table = _table_of(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, item_id: _Int64) -> npt.NDArray[np.bool_]:
        """bool[n]: which of n ids are in the set."""
        return _has(self.table, item_id)


@compiled
def holds(table: _Int64, item_id: int) -> bool:
    """Whether the set with this table has an id; for compiled loops."""
    place = first_place(item_id, len(table))
    while table[place] != _FREE:
        if table[place] == item_id:
            return True
        place = next_place(place, len(table))
    return False


@compiled
def _table_of(ids: _Int64) -> _Int64:
    """int64[places]: each id at the first free place from its own on."""
    table = np.full(n_places_for(len(ids)), _FREE, np.int64)
    for item_id in ids:
        place = first_place(item_id, len(table))
        while table[place] != _FREE and table[place] != item_id:
            place = next_place(place, len(table))
        table[place] = item_id
    return table


@compiled
def _has(table: _Int64, item_id: _Int64) -> npt.NDArray[np.bool_]:
    found = np.empty(len(item_id), np.bool_)
    for i in range(len(item_id)):
        found[i] = holds(table, item_id[i])
    return found
