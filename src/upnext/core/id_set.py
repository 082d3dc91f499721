"""A set of ids that one request asks often: a small sieve first, the exact look-up only for the few that fall through.

The sieve is one flag per residue of an id, so an id whose flag is off is certainly not in the set (Bloom 1970 with one hash function). With
a few hundred ids in 16,384 flags, one in fifty of the others has to be searched.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_Int64 = npt.NDArray[np.int64]
_N_FLAGS: Final = 1 << 14


class IdSet:
    """Ids by membership; immutable."""

    __slots__ = ("_flags", "ids")

    def __init__(self, ids: _Int64) -> None:
        """ids int64[m], ascending; repeats do no harm."""
        self.ids = ids
        self._flags = np.zeros(_N_FLAGS, np.bool_)
        self._flags[ids & (_N_FLAGS - 1)] = True

    def __len__(self) -> int:
        return len(self.ids)

    def has(self, item_id: _Int64) -> npt.NDArray[np.bool_]:
        """bool[n]: which of n ids are in the set."""
        found: npt.NDArray[np.bool_] = self._flags.take(item_id & (_N_FLAGS - 1))
        rows = np.flatnonzero(found)
        if len(rows):
            asked = item_id.take(rows)
            place = self.ids.searchsorted(asked)
            place[place == len(self.ids)] = 0
            found[rows] = self.ids.take(place) == asked
        return found
