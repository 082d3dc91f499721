"""Followed: the newest videos of the creators that the viewer follows."""

from __future__ import annotations

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import NO_ITEMS, Candidates, Float32, Int64, Query
from upnext.retrieval.config import FollowedConfig
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, unseen


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
        self._made_us: int | None = None
        self._n_items = 0
        self._item_id: Int64 = NO_ITEMS  # by creator, newest first
        self._start: Int64 = np.zeros(1, np.int64)  # creator code -> first place in item_id

    def refresh(self, time_us: int) -> None:
        """Sorts anew when videos came, at most every few seconds."""
        n, age_us = self._videos.n_items, self._config.refresh_s * 1e6
        if self._made_us is not None and abs(time_us - self._made_us) < age_us:
            return
        self._made_us = time_us
        if n == self._n_items:
            return
        creator, uploaded_us = self._videos.creator[:n], self._videos.uploaded_us[:n]
        ids = np.flatnonzero(creator >= 0)
        ids = ids[np.lexsort((ids, -uploaded_us[ids], creator[ids]))].astype(np.int64)
        n_creators = int(creator.max(initial=-1)) + 1
        self._start = np.searchsorted(creator[ids], np.arange(n_creators + 1)).astype(np.int64)
        self._item_id, self._n_items = ids, n

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, newest first, unseen, allowed and out already; the score is minus the age in days."""
        if self._made_us is None:
            self.refresh(query.request.time_us)
        followed = query.user.followed
        followed = followed[(followed >= 0) & (followed < len(self._start) - 1)]
        ids = self._newest_of(followed)
        uploaded_us = self._videos.uploaded_us[ids]
        keep = unseen(query, ids, self._allowed(query)) & (uploaded_us <= query.request.time_us)
        ids, uploaded_us = ids[keep], uploaded_us[keep]
        order = np.lexsort((ids, -uploaded_us))[:k]
        age_d: Float32 = ((query.request.time_us - uploaded_us[order]) / DAY_US).astype(np.float32)
        return Candidates.of_source(self.name, ids[order], -age_d)

    def _newest_of(self, creators: Int64) -> Int64:
        """The first few places of every creator's range, without a loop."""
        start, end = self._start[creators], self._start[creators + 1]
        count = np.minimum(end - start, self._config.per_creator)
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        newest: Int64 = self._item_id[np.repeat(start, count) + offset]
        return newest
