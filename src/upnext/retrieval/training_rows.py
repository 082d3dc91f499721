"""From showings to examples: which rows are labels, how much each weighs, and what its viewer had seen strictly before.

An example is one showing to predict from everything earlier (Covington 2016: the next watch with inputs rolled back). Rows of one
user are consecutive and in order, so "strictly before" is a range start..end; showings of the same instant are not before each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Bool, Flag, Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.two_tower.config import TwoTowerConfig

DISLIKED: Final = Flag.DISLIKE | Flag.NOT_INTERESTED
_WATCHED: Final = Flag.RELEVANT | Flag.WATCHED | Flag.LONG_VIEW | Flag.COMPLETED


@dataclass(frozen=True)
class Labels:
    """e examples, in the order of their rows."""

    row: Int64  # [e] in the showings
    start: Int64  # [e] first row that the viewer's history may use
    end: Int64  # [e] rows start..end-1 are strictly before the label
    weight: Float32  # [e] mean 1
    age_d: Float32  # [e] newest timed showing minus the label's time; untimed: one day beyond the oldest
    is_history: Bool  # [e]
    is_positive: Bool  # [e] False: an explicit dislike, in the binary loss alone
    skipped: Int64  # [e] the viewer's next row that was shown and not watched, -1 none

    def __len__(self) -> int:
        return len(self.row)


def labels_of(showings: Showings, config: TwoTowerConfig, since_us: int = 0) -> Labels:
    """The examples in these showings, at or after since_us where that is not 0; none for none."""
    chosen = _is_label(showings, config)
    if since_us:
        chosen &= showings.time_us >= since_us
    row = np.flatnonzero(chosen)
    row = row[_latest_per_user(showings.user[row], cap_of(showings.user[row], config))]
    first = showings.starts()[showings.user[row]]
    end = strictly_before(showings)[row]
    is_history = showings.time_us[row] == 0
    weight = _weights(showings, row, config)
    timed = showings.time_us[showings.time_us > 0]
    newest, oldest = (timed.max(), timed.min()) if len(timed) else (0, 0)
    time_us = np.where(is_history, oldest - DAY_US, showings.time_us[row])
    age_d = ((newest - time_us) / DAY_US).astype(np.float32)
    start = np.maximum(first, end - config.history_rows)
    is_positive = ~_has(showings, DISLIKED)[row] if config.loss == "binary" else row >= 0
    return Labels(
        row, start, end, weight, age_d, is_history, is_positive, _next_skipped(showings)[row]
    )


def strictly_before(showings: Showings) -> Int64:
    """int64[m]: for each row the first row of the same user that is not strictly before it."""
    n = len(showings)
    starts_run = np.ones(n, bool)
    starts_run[1:] = (
        (showings.user[1:] != showings.user[:-1])
        | (showings.time_us[1:] != showings.time_us[:-1])
        | (showings.time_us[1:] == 0)  # untimed rows: the order is the time
    )
    return np.maximum.accumulate(np.where(starts_run, np.arange(n), 0)).astype(np.int64)


def is_first_showing(showings: Showings) -> Bool:
    """bool[m]: the user had not been shown this video in an earlier row."""
    n_items = int(showings.item_id.max(initial=0)) + 1
    _, first = np.unique(showings.user * n_items + showings.item_id, return_index=True)
    is_first = np.zeros(len(showings), bool)
    is_first[first] = True
    return is_first


def _is_label(showings: Showings, config: TwoTowerConfig) -> Bool:
    chosen = np.ones(len(showings), bool)
    if config.loss == "binary":
        chosen &= _has(showings, Flag.RELEVANT | DISLIKED)
    elif config.labels == "relevant":
        chosen &= _has(showings, Flag.RELEVANT)
    if not config.label_histories:
        chosen &= showings.time_us > 0
    if config.only_first:
        chosen &= is_first_showing(showings)
    return chosen


def _has(showings: Showings, flags: int) -> Bool:
    """bool[m]: one of the flags is set."""
    return np.asarray((showings.flags & np.uint16(flags)) != 0, np.bool_)


def _next_skipped(showings: Showings) -> Int64:
    """int64[m]: of each row the same user's next one that was shown and not watched, -1 where none follows."""
    n = len(showings)
    is_skipped = _has(showings, Flag.IMPRESSION) & ~_has(showings, _WATCHED)
    is_skipped |= _has(showings, Flag.SKIPPED) & ~_has(showings, Flag.RELEVANT)
    place = np.append(np.where(is_skipped, np.arange(n), n), n)
    following = np.minimum.accumulate(place[::-1])[::-1][1:]  # at a later row than one's own
    user = np.append(showings.user, -1)
    return np.where(user[following] == showings.user, following, -1)


def cap_of(user: Int64, config: TwoTowerConfig) -> int:
    """Examples of one user at most: max_per_user, or as many more as it takes to have min_examples; user int64[e] ascending.

    The cap keeps few busy viewers from speaking for all (Covington 2016). Where there are few viewers at all it would throw away most
    of what is known."""
    _, counts = np.unique(user, return_counts=True)
    wanted = min(config.min_examples, len(user))
    low, high = config.max_per_user, max(config.max_per_user, int(counts.max(initial=0)))
    while low < high:
        middle = (low + high) // 2
        if np.minimum(counts, middle).sum() >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def _latest_per_user(user: Int64, cap: int) -> Bool:
    """bool[e]: the last `cap` rows of each user; user int64[e] ascending."""
    last = np.searchsorted(user, user, side="right")
    return last - np.arange(len(user)) <= cap


def _weights(showings: Showings, row: Int64, config: TwoTowerConfig) -> Float32:
    if not len(row):
        return np.zeros(0, np.float32)
    is_relevant = _has(showings, Flag.RELEVANT)[row]
    is_heavier = is_relevant & (config.loss == "softmax")
    weight = np.where(is_heavier, config.relevant_weight, 1.0)
    if config.equal_users:
        total = np.bincount(showings.user[row], weight, len(showings.user_ids))
        weight = weight / total[showings.user[row]]
    return np.asarray(weight / weight.mean(), np.float32)
