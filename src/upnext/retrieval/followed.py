"""Followed: the newest videos of the creators that the viewer follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.compiled import compiled
from upnext.core.types import NO_ITEMS, Bool, Candidates, Float32, Int64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import FollowedConfig
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, is_open, mask_of


class _Uploads(NamedTuple):
    """Every creator's videos of the first n_items."""

    n_items: int
    item_id: Int64  # [m] by creator, newest first
    start: Int64  # creator code -> first place in item_id


class Followed:
    """A Source over each creator's uploads, newest first. `refresh` sorts them; `fetch` gathers."""

    name = "followed"

    def __init__(
        self,
        videos: Videos,
        config: FollowedConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._allowed = videos, allowed
        self._config = config or FollowedConfig()
        self._uploads = Aged(self._made, self._config.refresh_s)
        self._latest = _Uploads(0, np.zeros(0, np.int64), np.zeros(1, np.int64))

    def refresh(self, time_us: int) -> None:
        """Sorts anew when videos came, at most every few seconds."""
        self._uploads.refresh(time_us)

    def _made(self, time_us: int) -> _Uploads:
        n = self._videos.n_items
        if n == self._latest.n_items:
            return self._latest
        creator, uploaded_us = self._videos.creator[:n], self._videos.uploaded_us[:n]
        ids = np.flatnonzero(creator >= 0)
        ids = ids[np.lexsort((ids, -uploaded_us[ids], creator[ids]))].astype(np.int64)
        n_creators = int(creator.max(initial=-1)) + 1
        start = np.searchsorted(creator[ids], np.arange(n_creators + 1)).astype(np.int64)
        self._latest = _Uploads(n, ids, start)
        return self._latest

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, newest first, unseen, allowed and out already; the score is minus the age in days."""
        uploads = self._uploads.at(query.request.time_us)
        followed = query.user.followed
        if not len(followed):
            return Candidates.of_source(self.name, NO_ITEMS, np.zeros(0, np.float32))
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        ids = _newest(
            np.array(followed), uploads.start, uploads.item_id, self._config.per_creator,
            query.left_out.table, allowed,
        )  # fmt: skip
        uploaded_us = self._videos.uploaded_us.take(ids)
        is_out = uploaded_us <= query.request.time_us
        ids, uploaded_us = ids[is_out], uploaded_us[is_out]
        order = np.lexsort((ids, -uploaded_us))[:k]
        age_d: Float32 = ((query.request.time_us - uploaded_us[order]) / DAY_US).astype(np.float32)
        return Candidates.of_source(self.name, ids[order], -age_d)


@compiled
def _newest(
    creators: Int64, start: Int64, item_id: Int64, per_creator: int, left_out: Int64, allowed: Bool
) -> Int64:
    """int64[m]: of the first `per_creator` places of every creator's range, those that may be proposed; unknown creators have none."""
    newest = np.empty(len(creators) * per_creator, np.int64)
    n_found = 0
    for creator in creators:
        if creator < 0 or creator >= len(start) - 1:
            continue
        for place in range(start[creator], min(start[creator + 1], start[creator] + per_creator)):
            if is_open(item_id[place], left_out, allowed):
                newest[n_found] = item_id[place]
                n_found += 1
    return newest[:n_found]
