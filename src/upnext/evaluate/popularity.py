"""The lists that need no model: what was relevant to most people lately.

Popularity counts relevant showings (liked, or watched at least half), not impressions: impressions only repeat what the old policy chose
to show. Windows of 1, 7 and 30 days, all time (histories without times count there alone), and a count that halves every day. Every
table of results has these rows; a recommender that does not beat them knows nothing about its viewers.
Ties: the larger all-time count, then the lower item id.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Flag, Float64, Int64
from upnext.evaluate.user_items import UserItems
from upnext.features.showings import Showings

WINDOWS_D = {"popular_1d": 1, "popular_7d": 7, "popular_30d": 30}
_CELLS = 1 << 21


def relevant_counts(
    showings: Showings,
    n_items: int,
    time_us: int,
    *,
    window_d: float | None = None,
    half_life_d: float | None = None,
) -> Float64:
    """float64[n_items]: relevant showings strictly before time_us, of the last window_d days (None: all, histories too),
    each worth 2^(-age / half_life_d) (None: 1; histories, whose age is unknown, 0 then)."""
    is_counted = (showings.flags & np.uint16(Flag.RELEVANT)) != 0
    is_counted &= showings.time_us < time_us
    if window_d is not None:
        is_counted &= showings.time_us >= time_us - int(window_d * DAY_US)
    if window_d is not None or half_life_d is not None:
        is_counted &= showings.time_us > 0
    weight = np.ones(int(is_counted.sum()))
    if half_life_d is not None:
        age_d = (time_us - showings.time_us[is_counted]) / DAY_US
        weight = np.exp2(-age_d / half_life_d)
    return np.bincount(showings.item_id[is_counted], weight, minlength=n_items).astype(np.float64)


def popular_orders(showings: Showings, n_items: int, time_us: int) -> dict[str, Int64]:
    """{"popular_1d", "popular_7d", "popular_30d", "popular_all", "popular_decay_1d": int64[n_items]}, best first."""
    every = relevant_counts(showings, n_items, time_us)
    counts = {
        name: relevant_counts(showings, n_items, time_us, window_d=days)
        for name, days in WINDOWS_D.items()
    }
    counts["popular_all"] = every
    counts["popular_decay_1d"] = relevant_counts(showings, n_items, time_us, half_life_d=1.0)
    ids = np.arange(n_items)
    return {name: np.lexsort((ids, -every, -count)) for name, count in counts.items()}


def unseen_of(order: Int64, seen: UserItems, k: int) -> Int64:
    """int64[u, k]: the first k of order int64[n_items], a permutation of all items, that each viewer has not seen; -1 pads."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ranked = np.full((seen.n_users, k), -1, np.int64)
    deepest = k + int(seen.counts().max(initial=0))
    for start in range(0, seen.n_users, step := max(1, _CELLS // max(1, deepest))):
        rows = np.arange(start, min(start + step, seen.n_users))
        part = seen.take(rows)
        depth = min(len(order), k + int(part.counts().max(initial=0)))
        is_unseen = np.ones((len(rows), depth), np.bool_)
        seen_place = place[part.item_id]
        is_near = seen_place < depth
        is_unseen[part.users()[is_near], seen_place[is_near]] = False
        slot = np.cumsum(is_unseen, axis=1) - 1
        row, column = np.nonzero(is_unseen & (slot < k))
        ranked[rows[row], slot[row, column]] = order[column]
    return ranked


def popularity_lists(
    showings: Showings, n_items: int, time_us: int, seen: UserItems | None, k: int
) -> dict[str, Callable[[Int64], Int64]]:
    """{name: viewer rows int64[m] -> lists int64[m, k]} of every popularity row, for the u viewers of a split.

    The rows number the viewers of `seen`, whose seen videos are left out; None: nothing is left out."""
    return {
        name: _producer(order, seen, k)
        for name, order in popular_orders(showings, n_items, time_us).items()
    }


def _producer(order: Int64, seen: UserItems | None, k: int) -> Callable[[Int64], Int64]:
    def produce(rows: Int64) -> Int64:
        nothing = UserItems(np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int64))
        return unseen_of(order, nothing if seen is None else seen.take(rows), k)

    return produce
