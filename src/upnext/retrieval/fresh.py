"""Fresh: the newest uploads, those with few impressions more often, so that a new video gets its first viewers.

A video's value is 2^(-age / half_life) / sqrt(1 + impressions / prior). Every request draws its own sample without replacement in
proportion to it (Gumbel top-k, keyed by the request's seed, viewer and page): all viewers together explore the whole list.
"""

from __future__ import annotations

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.randomness import rng_for
from upnext.core.types import Candidates, Float64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import FreshConfig
from upnext.retrieval.selection import largest_rows
from upnext.retrieval.short_list import (
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    counted,
    first_unseen,
    top,
)


class Fresh:
    """A Source of new videos. `refresh` makes the list; `fetch` draws from it."""

    name = "fresh"

    def __init__(
        self,
        videos: Videos,
        counts: Counts,
        config: FreshConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._counts, self._allowed = videos, counts, allowed
        self._config = config or FreshConfig()
        self._list = Aged(self._made, self._config.refresh_s)

    def refresh(self, time_us: int) -> None:
        """Makes the list anew as of time_us, unless it is younger than the set age."""
        self._list.refresh(time_us)

    def _made(self, time_us: int) -> ShortList:
        """The newest videos with the logarithm of their value."""
        config, n = self._config, self._videos.n_items
        uploaded_us = self._videos.uploaded_us[:n]
        time_of_out = uploaded_us.astype(np.float64)
        time_of_out[uploaded_us > time_us] = 0
        newest = top(time_of_out, config.size)
        ids = newest.item_id
        age_h = (time_us - uploaded_us[ids]) / HOUR_US
        impressions = counted(self._counts, "impressions_total", time_us, n)[ids]
        # in logarithms: an old catalogue's newest video must not underflow to nothing
        log_value = -age_h / config.half_life_h * np.log(2)
        log_value -= 0.5 * np.log1p(impressions / config.prior_impressions)
        return ShortList(ids, log_value.astype(np.float32))

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, drawn without replacement, first drawn first; unseen and allowed; the score is the perturbed log value."""
        request = query.request
        newest = self._list.at(request.time_us).within(self._allowed(query))
        rows = first_unseen(newest.item_id, query.left_out.table, len(newest))
        rng = rng_for("fresh", request.seed, request.user_id, request.page)
        score = newest.score.take(rows) + _gumbel(rng, len(rows))
        order = largest_rows(score, k)
        found = newest.item_id.take(rows.take(order))
        return Candidates.of_unique(self.name, found, score.take(order).astype(np.float32))


def _gumbel(rng: np.random.Generator, n: int) -> Float64:
    """float64[n]: what `rng.gumbel(size=n)` draws, to the last bit or two, by vector code: a fifth of the time."""
    below_one = np.minimum(1.0 - rng.random(n), 1.0 - 2.0**-53)
    return np.asarray(-np.log(-np.log(below_one)), np.float64)
