"""Every showing of the log in one set of aligned arrays: what retrieval learns from.

A showing is one (viewer, video, view) with everything the viewer did there. Rows are grouped by user, oldest first; rows of the
stored histories (order known, times not) come before the user's timed rows and have time_us 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.types import Array, Float32, Int64, UInt16
from upnext.features.context import Moment


@dataclass(frozen=True)
class Showings:
    """m showings of u users."""

    user: Int64  # [m] row in user_ids, ascending
    item_id: Int64  # [m]
    time_us: Int64  # [m] ascending inside a user; 0: a history row
    flags: UInt16  # [m] bits of core.types.Flag
    watch_s: Float32  # [m]
    moment: Array  # int64[m] row in `moments`; -1 for history rows
    user_ids: tuple[str, ...]  # [u]
    moments: tuple[Moment, ...]  # the contexts in which something was shown
    searches: dict[int, tuple[Int64, Int64]]  # user row -> (time_us[s] ascending, token hash[s])

    def __len__(self) -> int:
        return len(self.item_id)

    def before(self, time_us: int) -> Showings:
        """The showings strictly before an instant (history rows stay); later searches are dropped too."""
        keep = self.time_us < time_us
        searches = {
            u: (t[t < time_us], tokens[t < time_us]) for u, (t, tokens) in self.searches.items()
        }
        return Showings(
            self.user[keep],
            self.item_id[keep],
            self.time_us[keep],
            self.flags[keep],
            self.watch_s[keep],
            self.moment[keep],
            self.user_ids,
            self.moments,
            searches,
        )

    def starts(self) -> Int64:
        """int64[u + 1]: the rows of user i are starts[i] to starts[i + 1]."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 1)).astype(np.int64)
