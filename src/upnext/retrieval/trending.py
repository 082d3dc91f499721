"""Trending: what is found relevant far more often in the last hours than its own week would predict.

With decayed counts of half-lives 6 h and 7 d, a steady video has c6 = c7d * 6 / 168 in expectation; the score is the Poisson
surprise (c6 - e) / sqrt(e + 1), so that one lucky view of an unknown video does not trend.
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Candidates, Float64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import TrendingConfig
from upnext.retrieval.short_list import (
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    counted,
    top,
    walk,
)


class Trending:
    """A Source over two decayed counters. `refresh` makes the list; `fetch` only walks it."""

    name = "trending"

    def __init__(
        self,
        videos: Videos,
        counts: Counts,
        config: TrendingConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._counts, self._allowed = videos, counts, allowed
        self._config = config or TrendingConfig()
        self._list = Aged(self._made, self._config.refresh_s)

    def refresh(self, time_us: int) -> None:
        """Makes the list anew as of time_us, unless it is younger than the set age."""
        self._list.refresh(time_us)

    def _made(self, time_us: int) -> ShortList:
        n, config = self._videos.n_items, self._config
        lately = counted(self._counts, config.counter_6h, time_us, n)
        usually = counted(self._counts, config.counter_7d, time_us, n) * (6 / 168)
        return top(surprise(lately, usually, config.min_count), config.size)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the surprise, above 0."""
        trending = self._list.at(query.request.time_us)
        return walk([trending], query, k, self._allowed(query), self.name)


@compiled
def surprise(lately: Float64, usually: Float64, min_count: float) -> Float64:
    """float64[n]: (lately - usually) / sqrt(usually + 1); 0 below min_count."""
    value = np.zeros(len(lately))
    for i in range(len(lately)):
        if lately[i] >= min_count:
            value[i] = max((lately[i] - usually[i]) / np.sqrt(usually[i] + 1), 0.0)
    return value
