"""A row of numbers per video: the release's, memory-mapped, and those of videos that came later, in this process alone."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Bool, Float32, Int64


class VideoRows:
    """Rows by item_id, of which some are there. One thread puts, others take."""

    def __init__(self, base: Float32, is_there: Bool) -> None:
        """base float32[i, d] by item_id; is_there bool[i]: which of them the release learned."""
        self._base, self._learned = base, is_there
        self._later = np.zeros((0, base.shape[1]), np.float32)  # rows of put()
        self._place = np.full(len(base), -1, np.int64)  # by item_id: row in _later, -1 none

    def is_learned(self, item_id: Int64) -> Bool:
        """bool[m]: the release itself learned these."""
        learned = np.zeros(len(item_id), np.bool_)
        inside = item_id < len(self._learned)
        learned[inside] = self._learned[item_id[inside]]
        return learned

    def put(self, item_id: Int64, rows: Float32) -> None:
        """Sets the rows float32[m, d] of ids int64[m] that the release did not learn."""
        if not len(item_id):
            return
        place, size = self._place, int(item_id.max()) + 1
        if size > len(place):
            place = np.pad(place, (0, max(size - len(place), len(place))), constant_values=-1)
        else:
            place = place.copy()
        place[item_id] = np.arange(len(self._later), len(self._later) + len(item_id))
        self._later = np.concatenate([self._later, rows])  # the rows first: a place points to one
        self._place = place

    def take(self, item_id: Int64) -> tuple[Float32, Bool]:
        """(rows float32[m', d] of those of ids int64[m] that have one, bool[m] which those are)."""
        inside = item_id < len(self._base)
        if inside.all():  # nearly always: one gather
            known = self._learned[item_id]
            if known.all():
                # not `take`, which first copies all of a base that is a part of the columns
                return self._base[item_id], known
        place_of, later = self._place, self._later
        known = self.is_learned(item_id)
        place = np.full(len(item_id), -1, np.int64)
        inside = item_id < len(place_of)
        place[inside] = place_of[item_id[inside]]
        place[known] = -1
        rows = np.empty((len(item_id), self._base.shape[1]), np.float32)
        rows[known] = self._base[item_id[known]]
        is_later = place >= 0
        rows[is_later] = later[place[is_later]]
        known |= is_later
        return rows[known], known
