"""Trending: what is found relevant far more often in the last hours than its own week would predict, in the viewer's country and language first.

With decayed counts of half-lives 6 h and 7 d, a steady video has c6 = c7d * 6 / 168 in expectation; the score is the Poisson
surprise (c6 - e) / sqrt(e + 1), so that one lucky view of an unknown video does not trend. A country's list is of its own counts; a country,
then a language, where too little happens has none, and the list of all viewers follows.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Candidates, Float64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.asked_lists import AskedLists
from upnext.retrieval.config import TrendingConfig
from upnext.retrieval.short_list import (
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    by_group,
    counted,
    country_of,
    in_language,
    language_of,
    list_of,
    top,
    walk,
)


class _Lists(NamedTuple):
    """One making."""

    of_countries: AskedLists  # by country and language
    by_language: dict[int, ShortList]
    every: ShortList


class Trending:
    """A Source over two decayed counters. `refresh` makes the lists; `fetch` only walks them."""

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
        self._lists = Aged(self._made, self._config.refresh_s)
        self._of_countries: AskedLists | None = None  # as they were made last

    def refresh(self, time_us: int) -> None:
        """Makes the lists anew as of time_us, unless they are younger than the set age."""
        self._lists.refresh(time_us)

    def _made(self, time_us: int) -> _Lists:
        n, config = self._videos.n_items, self._config
        lately = counted(self._counts, config.counter_6h, time_us, n)
        usually = counted(self._counts, config.counter_7d, time_us, n) * (6 / 168)
        value = surprise(lately, usually, config.min_count)
        by_language = by_group(value, self._videos.language[:n], config.size)
        of_country = partial(self._of_country, time_us, n)
        self._of_countries = AskedLists(of_country, self._of_countries)
        return _Lists(self._of_countries, by_language, top(value, config.size))

    def _of_country(self, time_us: int, n_items: int, country: str, language: int) -> ShortList:
        """What trends in a country by its own counts; only videos in the language where one is given."""
        counts = self._counts.countries.columns(country, time_us)
        kept = in_language(counts.item_id, language, self._videos, n_items)
        usually = counts.week[kept] * (6 / 168)
        value = surprise(counts.lately[kept], usually, self._config.min_count)
        best = top(value, self._config.size)
        return ShortList(counts.item_id[kept][best.item_id], best.score)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the surprise, above 0."""
        lists = self._lists.at(query.request.time_us)
        language, country = language_of(query, self._videos), country_of(query)
        near = [lists.of_countries.of(country, language)] if country else []
        near.append(list_of(lists.by_language, language))
        return walk([*near, lists.every], query, k, self._allowed(query), self.name)


@compiled
def surprise(lately: Float64, usually: Float64, min_count: float) -> Float64:
    """float64[n]: (lately - usually) / sqrt(usually + 1); 0 below min_count."""
    value = np.zeros(len(lately))
    for i in range(len(lately)):
        if lately[i] >= min_count:
            value[i] = max((lately[i] - usually[i]) / np.sqrt(usually[i] + 1), 0.0)
    return value
