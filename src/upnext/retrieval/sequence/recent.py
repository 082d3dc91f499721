"""How popular each video was lately, as columns beside its vector, at the end of each day of the log.

A score is then h . e_i + w(h) . p_i(t): how much the last day counts is the viewer's affair, learned with everything else, and a search by
inner product stays one. A target of the log is scored with the columns of the last midnight (UTC) before it, so they know nothing
of the target's day, as lists made at the start of a day know nothing of it either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Flag, Float32, Int64
from upnext.features.showings import Showings

HALF_LIVES_D: Final = (0.5, 2.0, 7.0)
N_RECENT: Final = 2 * len(HALF_LIVES_D)  # of showings, and of relevant ones


@dataclass(frozen=True)
class Recent:
    """Popularity at n instants. Instant 0 is before everything: all columns are 0."""

    instant_us: Int64  # [n] ascending
    columns: Float32  # [n, i, N_RECENT]

    def at(self, time_us: Int64) -> Int64:
        """int64[m]: the latest instant at or before each time int64[m]; 0 for times that are not known."""
        return np.searchsorted(self.instant_us, time_us, side="right").astype(np.int64) - 1


def recent_of(showings: Showings, n_items: int, n_days: int) -> Recent:
    """Popularity at each of the log's latest n_days midnights, and at its end."""
    timed = np.flatnonzero(showings.time_us > 0)
    if not len(timed):
        return Recent(np.zeros(1, np.int64), np.zeros((1, n_items, N_RECENT), np.float32))
    timed = timed[np.argsort(showings.time_us[timed], kind="stable")]
    time_us, item_id = showings.time_us[timed], showings.item_id[timed]
    is_relevant = (showings.flags[timed] & np.uint16(Flag.RELEVANT)) != 0
    first, last = time_us[0] // DAY_US + 1, time_us[-1] // DAY_US
    days = np.arange(max(first, last - n_days + 1), last + 1, dtype=np.int64) * DAY_US
    instants = np.concatenate([[0], days, [time_us[-1] + 1]]).astype(np.int64)
    columns = np.zeros((len(instants), n_items, N_RECENT), np.float32)
    for place, instant in enumerate(instants.tolist()):
        past = slice(0, int(np.searchsorted(time_us, instant)))
        age_d = (instant - time_us[past]) / DAY_US
        for column, half_life_d in enumerate(HALF_LIVES_D):
            weight = np.exp2(-age_d / half_life_d)
            shown = np.bincount(item_id[past], weight, n_items)
            liked = np.bincount(item_id[past], weight * is_relevant[past], n_items)
            columns[place, :, 2 * column] = np.log1p(shown)
            columns[place, :, 2 * column + 1] = np.log1p(liked)
    return Recent(instants, columns)
