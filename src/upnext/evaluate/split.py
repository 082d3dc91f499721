"""What a recommender may know and what it is judged on: fixed, checkable splits of the showings.

The first split is global in time: everything before an instant trains, and each viewer's relevant videos at or after it are the truth
(a leave-one-out split ranks models differently, because it lets them see the future of others). Leave-last-out stands beside it for
comparison with papers. Order is that of the showings, stable for equal times; a checksum says whether two splits are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.errors import expected
from upnext.core.types import Bool, Flag, Int64
from upnext.evaluate.user_items import UserItems
from upnext.features.showings import Showings


@dataclass(frozen=True, slots=True)
class Split:
    """Training showings, and for u viewers the relevant videos to find and those seen before."""

    train: Showings
    user: Int64  # [u] rows in train.user_ids, ascending
    truth: UserItems  # of those u viewers, none empty
    seen: UserItems  # of those u viewers: every video shown to them in training
    is_seen_excluded: bool

    def user_ids(self) -> list[str]:
        """The ids of the u viewers."""
        return [self.train.user_ids[row] for row in self.user]

    def checksum(self) -> str:
        """sha256 of the sorted (user id, item id) pairs of the truth."""
        return self.truth.checksum(self.user_ids())


def instant_us(text: str) -> int:
    """UTC microseconds of an ISO instant with an offset, such as "2022-05-04T00:00+08:00".

    Raises InvalidInput without an offset: a bare local time means another instant on another machine."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise expected("instant", 'an ISO time such as "2022-05-04T00:00+08:00"', text) from None
    if moment.tzinfo is None:
        raise expected("instant", 'an offset, such as "+08:00" or "Z"', text)
    return int(moment.timestamp()) * SECOND_US + moment.microsecond


def time_split(
    showings: Showings, time_us: int, *, end_us: int | None = None, exclude_seen: bool = True
) -> Split:
    """The split at an instant: strictly before trains, relevant showings from it on (before end_us) are the truth.

    exclude_seen drops from the truth what a viewer was shown in training (histories count), and `seen` says what a list
    must not hold; a viewer left without truth is left out."""
    is_test = showings.time_us >= time_us
    if end_us is not None:
        is_test &= showings.time_us < end_us
    return _split(showings, showings.before(time_us), is_test, exclude_seen)


def leave_last_out(
    showings: Showings, *, flag: int = Flag.RELEVANT, n_back: int = 0, exclude_seen: bool = True
) -> Split:
    """Each viewer's last showing with any bit of `flag` (0: any showing) is the truth; what stands before it trains.

    n_back = 1 takes the one before the last: the validation split. A viewer needs two such showings more than n_back; one
    with fewer keeps all rows in training and is not judged."""
    mask = np.ones(len(showings), np.bool_) if not flag else (showings.flags & np.uint16(flag)) != 0
    rows = np.flatnonzero(mask)
    counts = np.bincount(showings.user[rows], minlength=len(showings.user_ids))
    last = np.cumsum(counts) - 1 - n_back
    target = rows[last[counts >= n_back + 2]]
    cut = np.full(len(showings.user_ids), len(showings))
    cut[showings.user[target]] = target
    is_train = np.arange(len(showings)) < cut[showings.user]
    is_test = np.zeros(len(showings), np.bool_)
    is_test[target] = True
    return _split(showings, _rows(showings, is_train), is_test, exclude_seen, flag)


def _split(
    showings: Showings,
    train: Showings,
    is_test: Bool,
    exclude_seen: bool,
    flag: int = Flag.RELEVANT,
) -> Split:
    if flag:
        is_test = is_test & ((showings.flags & np.uint16(flag)) != 0)
    n_users = len(showings.user_ids)
    truth = UserItems.of_pairs(showings.user[is_test], showings.item_id[is_test], n_users)
    seen = UserItems.of_pairs(train.user, train.item_id, n_users)
    if exclude_seen:
        truth = truth.without(seen)
    user = np.flatnonzero(truth.counts())
    return Split(train, user, truth.take(user), seen.take(user), exclude_seen)


def _rows(showings: Showings, mask: Bool) -> Showings:
    first_left_out = np.full(len(showings.user_ids), np.iinfo(np.int64).max)
    np.minimum.at(first_left_out, showings.user[~mask], showings.time_us[~mask])
    searches = {
        u: (t[t < first_left_out[u]], tokens[t < first_left_out[u]])
        for u, (t, tokens) in showings.searches.items()
    }
    return Showings(
        showings.user[mask],
        showings.item_id[mask],
        showings.time_us[mask],
        showings.flags[mask],
        showings.watch_s[mask],
        showings.moment[mask],
        showings.user_ids,
        showings.moments,
        searches,
    )
