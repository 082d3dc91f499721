"""What a recommender may know and what it is judged on: fixed, checkable splits of the showings.

The first split is global in time: everything before an instant trains, and each viewer's relevant videos at or after it are the truth
(a leave-one-out split ranks models differently, because it lets them see the future of others). Leave-last-out stands beside it for
comparison with papers. Order is that of the showings, stable for equal times; a checksum says whether two splits are the same.

What of the window is to be found, the target (Gusak et al. 2025, "Time to Split"):

    all          every relevant video of the window, by one list as of the instant: a page for somebody who comes back
    first        the first one, by a list as of just before it (the gap since training is short for the eager, long for others)
    last         the last one, by a list that knows the window up to just before it
    successive   each in turn, by as many lists; a viewer's value is the mean over them: the next-item task without its shifts

The product shows pages, on which several videos may be right, so `all` is what it is judged by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.errors import expected
from upnext.core.types import Bool, Flag, Int64
from upnext.evaluate.user_items import UserItems
from upnext.features.showings import Showings

Target = Literal["all", "first", "last", "successive"]


@dataclass(frozen=True, slots=True)
class Split:
    """Training showings, and u cases: whose each is, as of when, the videos to find and those seen before."""

    train: Showings
    user: Int64  # [u] rows in train.user_ids, ascending; repeated where a viewer has several cases
    truth: UserItems  # of those u cases, none empty
    seen: UserItems  # of those u cases: every video shown to the viewer before
    is_seen_excluded: bool
    asked_us: Int64  # [u] a list may know what came strictly before
    counts: Mapping[str, int] = field(default_factory=dict)  # what was judged and what was not

    def user_ids(self) -> list[str]:
        """The viewer's id of each of the u cases."""
        return [self.train.user_ids[row] for row in self.user]

    def viewer(self) -> Int64:
        """int64[u]: the cases' viewers numbered 0, 1, ... in order."""
        return np.unique(self.user, return_inverse=True)[1].astype(np.int64)

    def take(self, rows: Int64) -> Split:
        """The cases rows int64[m], ascending; the counts stay those of the whole."""
        return replace(
            self,
            user=self.user[rows],
            truth=self.truth.take(rows),
            seen=self.seen.take(rows),
            asked_us=self.asked_us[rows],
        )

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
    showings: Showings,
    time_us: int,
    *,
    end_us: int | None = None,
    exclude_seen: bool = True,
    target: Target = "all",
) -> Split:
    """The split at an instant: strictly before trains, relevant showings from it on (before end_us) are the truth.

    exclude_seen drops from the truth what a viewer was shown before (histories count), and `seen` says what a list
    must not hold; a viewer left without truth is left out, and counted."""
    is_test = showings.time_us >= time_us
    if end_us is not None:
        is_test &= showings.time_us < end_us
    is_relevant = (showings.flags & np.uint16(Flag.RELEVANT)) != 0
    train = showings.before(time_us)
    rows = np.flatnonzero(is_test & is_relevant)
    if target == "all":
        split = _at_once(showings, train, rows, exclude_seen, time_us)
    else:
        if exclude_seen:
            rows = rows[~_was_shown(showings, rows)]
        split = _one_by_one(showings, train, _picked(showings.user[rows], rows, target))
        split = replace(split, is_seen_excluded=exclude_seen)
    return replace(split, counts=_counts(showings, is_test, is_relevant, split))


def leave_last_out(
    showings: Showings,
    *,
    flag: int = Flag.RELEVANT,
    n_back: int = 0,
    exclude_seen: bool = True,
    since_us: int | None = None,
) -> Split:
    """Each viewer's last showing with any bit of `flag` (0: any showing) is the truth; what stands before it trains.

    n_back = 1 takes the one before the last: the validation split. A viewer needs two such showings more than n_back; one
    with fewer keeps all rows in training and is not judged. since_us: one whose target stands before it is not judged either (a
    release has learned from it)."""
    mask = np.ones(len(showings), np.bool_) if not flag else (showings.flags & np.uint16(flag)) != 0
    rows = np.flatnonzero(mask)
    counts = np.bincount(showings.user[rows], minlength=len(showings.user_ids))
    last = np.cumsum(counts) - 1 - n_back
    has_enough = counts >= n_back + 2
    target = rows[last[has_enough]]
    cut = np.full(len(showings.user_ids), len(showings))
    cut[showings.user[target]] = target
    train = _rows(showings, np.arange(len(showings)) < cut[showings.user])
    seen = UserItems.of_pairs(train.user, train.item_id, len(showings.user_ids))
    is_late = showings.time_us[target] >= (0 if since_us is None else since_us)
    user, item_id = showings.user[target], showings.item_id[target]
    was_shown = seen.contains(user, item_id) & exclude_seen
    judged = target[is_late & ~was_shown]
    user = showings.user[judged]
    left_out = {
        "viewers": len(showings.user_ids),
        "viewers_with_too_few": int((~has_enough).sum()),
        "viewers_whose_last_was_learned": int((~is_late).sum()),
        "viewers_shown_before": int((is_late & was_shown).sum()),
        "viewers_judged": len(judged),
        "pairs_judged": len(judged),
    }
    truth = _one_each(showings.item_id[judged])
    seen = seen.take(user)
    return Split(train, user, truth, seen, exclude_seen, showings.time_us[judged], left_out)


def _at_once(
    showings: Showings, train: Showings, rows: Int64, exclude_seen: bool, time_us: int
) -> Split:
    """One case a viewer: everything that the rows hold, as of the instant."""
    n_users = len(showings.user_ids)
    truth = UserItems.of_pairs(showings.user[rows], showings.item_id[rows], n_users)
    seen = UserItems.of_pairs(train.user, train.item_id, n_users)
    if exclude_seen:
        truth = truth.without(seen)
    user = np.flatnonzero(truth.counts())
    asked_us = np.full(len(user), time_us)
    return Split(train, user, truth.take(user), seen.take(user), exclude_seen, asked_us)


def _one_by_one(showings: Showings, train: Showings, rows: Int64) -> Split:
    """One case a row, as of just before it."""
    user, asked_us = showings.user[rows], showings.time_us[rows]
    first, stop = showings.starts()[user], _first_at(showings, rows)
    n_before = stop - first
    case = np.repeat(np.arange(len(rows)), n_before)
    starts = np.cumsum(n_before) - n_before
    before = np.arange(len(case)) - starts[case] + first[case]
    seen = UserItems.of_pairs(case, showings.item_id[before], len(rows))
    return Split(train, user, _one_each(showings.item_id[rows]), seen, True, asked_us)


def _picked(user: Int64, rows: Int64, target: Target) -> Int64:
    """Of rows grouped by user, oldest first: each viewer's first, last, or all."""
    is_edge = np.ones(len(rows), np.bool_)
    if target == "first":
        is_edge[1:] = user[1:] != user[:-1]
    if target == "last":
        is_edge[:-1] = user[1:] != user[:-1]
    return rows[is_edge]


def _first_at(showings: Showings, rows: Int64) -> Int64:
    """int64[m]: for each row the first row of its viewer at the same time."""
    _, moment = np.unique(showings.time_us, return_inverse=True)
    key = showings.user * (int(moment.max(initial=0)) + 1) + moment
    return np.searchsorted(key, key[rows]).astype(np.int64)


def _was_shown(showings: Showings, rows: Int64) -> Bool:
    """bool[m]: whether the viewer was shown the same video strictly before; of equal rows at one time only the first is new."""
    order = np.lexsort((np.arange(len(showings)), showings.item_id, showings.user))
    user, item_id = showings.user[order], showings.item_id[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (user[1:] != user[:-1]) | (item_id[1:] != item_id[:-1])
    first = order[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
    first_row = np.empty(len(order), np.int64)
    first_row[order] = first
    is_earlier = showings.time_us[first_row[rows]] < showings.time_us[rows]
    pair = np.stack([first_row[rows], showings.time_us[rows]])
    _, new = np.unique(pair, axis=1, return_index=True)
    is_new = np.zeros(len(rows), np.bool_)
    is_new[new] = True
    return np.asarray(is_earlier | ~is_new, np.bool_)


def _one_each(item_id: Int64) -> UserItems:
    return UserItems(np.arange(len(item_id) + 1, dtype=np.int64), item_id)


def _counts(showings: Showings, is_test: Bool, is_relevant: Bool, split: Split) -> dict[str, int]:
    """How many viewers and pairs of the window are judged, and where the others went."""
    n_users = len(showings.user_ids)
    is_hit = is_test & is_relevant
    pairs = UserItems.of_pairs(showings.user[is_hit], showings.item_id[is_hit], n_users)
    seen = UserItems.of_pairs(split.train.user, split.train.item_id, n_users)
    n_seen = int(seen.contains(pairs.users(), pairs.item_id).sum())
    in_window = np.bincount(showings.user[is_test], minlength=n_users) > 0
    has_truth = pairs.counts() > 0
    judged = np.unique(split.user)
    return {
        "viewers": n_users,
        "viewers_in_window": int(in_window.sum()),
        "viewers_without_relevant": int((in_window & ~has_truth).sum()),
        "viewers_with_all_seen_before": int(has_truth.sum()) - len(judged),
        "viewers_judged": len(judged),
        "viewers_judged_new": int((seen.counts()[judged] == 0).sum()),
        "pairs_relevant": len(pairs),
        "pairs_seen_before": n_seen,
        "pairs_judged": len(split.truth),
    }


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
        None if showings.propensity is None else showings.propensity[mask],
    )
