"""Whether an up-next list goes with the video being watched: the share of it in the same language, and of the same category.

It is a property of lists, not a goal by itself: a viewer of many languages is served well by a list that mixes them. It stands beside what
a random list has, which is the share that the catalogue has.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Flag, Float64, Int64
from upnext.evaluate.quotient import quotient
from upnext.features.showings import Showings


def same_code(ranked: Int64, k: int, current: Int64, code: Array) -> Float64:
    """float64[u]: which share of each list's first k videos has the code of the video being watched.

    ranked int64[u, K], -1 pads; current int64[u]; code int[n_items], -1 unknown. Videos without a code don't count; NaN where the
    video being watched has none, or nothing in the list has."""
    listed = ranked[:, :k]
    said = np.where(listed >= 0, code[np.maximum(listed, 0)], -1)
    own = code[current][:, None]
    n_known = (said >= 0).sum(1)
    share = quotient((said == own).sum(1).astype(np.float64), n_known.astype(np.float64))
    return np.where(own[:, 0] >= 0, share, np.nan)


def last_relevant(showings: Showings, user: Int64, before_us: int) -> Int64:
    """int64[u]: the video that each user row of `user` last found relevant before an instant, stored histories included; -1 for none."""
    is_past = (showings.time_us < before_us) & ((showings.flags & np.uint16(Flag.RELEVANT)) != 0)
    rows = np.flatnonzero(
        is_past
    )  # of each user oldest first, so the last assignment is the latest
    last = np.full(len(showings.user_ids), -1, np.int64)
    last[showings.user[rows]] = showings.item_id[rows]
    return last[user]
