"""Popular: what viewers found relevant lately, in the viewer's country and language first.

A country's own counts are few, so they are smoothed by everyone's (a Dirichlet prior): with c relevant showings of a video there out of C, and
g out of G everywhere, its value is G (c + s g / G) / (C + s). A country without data has everyone's list, one with much has its own.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from upnext.core.types import Candidates, Float64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.asked_lists import AskedLists
from upnext.retrieval.config import PopularConfig
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


class _Everyone(NamedTuple):
    """What all viewers found relevant as of an instant."""

    time_us: int
    values: Float64  # [n_items]
    by_language: dict[int, ShortList]
    every: ShortList


class Popular:
    """A Source over one decayed counter. `refresh` makes the lists; `fetch` only walks them."""

    name = "popular"

    def __init__(
        self,
        videos: Videos,
        counts: Counts,
        config: PopularConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._counts, self._allowed = videos, counts, allowed
        self._config = config or PopularConfig()
        self._lists = Aged(self._made, self._config.refresh_s)
        self._of_countries: AskedLists | None = None  # as they were made last

    def refresh(self, time_us: int) -> None:
        """Makes the lists anew as of time_us, unless they are younger than the set age."""
        self._lists.refresh(time_us)

    def _made(self, time_us: int) -> tuple[_Everyone, AskedLists]:
        """(everyone's lists, those by country and language)."""
        n, config = self._videos.n_items, self._config
        values = counted(self._counts, config.counter, time_us, n)
        tie = counted(self._counts, config.tie_counter, time_us, n)
        values = values + 1e-3 * tie  # not in place: the columns may be the counters' own
        languages = self._videos.language[:n]
        by_language = by_group(values, languages, config.size) if config.by_language else {}
        everyone = _Everyone(time_us, values, by_language, top(values, config.size))
        self._of_countries = AskedLists(partial(self._of_country, everyone), self._of_countries)
        return everyone, self._of_countries

    def _of_country(self, everyone: _Everyone, country: str, language: int) -> ShortList:
        """What a country's viewers found relevant, smoothed; only videos in the language where one is given."""
        all_of_it = everyone.every if language < 0 else list_of(everyone.by_language, language)
        counts = self._counts.countries.columns(country, everyone.time_us)
        kept = in_language(counts.item_id, language, self._videos, len(everyone.values))
        there, own = counts.item_id[kept], counts.day[kept]
        if not own.sum() > 0:
            return all_of_it
        ids = np.union1d(all_of_it.item_id, there)
        value = np.zeros(len(ids))
        value[np.searchsorted(ids, there)] = own
        shares = everyone.values[ids] / max(float(all_of_it.score.sum()), 1e-9)
        prior = self._config.country_prior
        smoothed = (value + prior * shares) / (own.sum() + prior)
        order = np.lexsort((ids, -smoothed))[: self._config.size]
        score = smoothed[order] * float(all_of_it.score.sum())
        return ShortList(ids[order], score.astype(np.float32))

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the decayed count, in a country as if all viewers liked what is liked there."""
        everyone, of_countries = self._lists.at(query.request.time_us)
        language = language_of(query, self._videos) if self._config.by_language else -1
        country = country_of(query)
        if country:
            own = of_countries.of(country, language)
        else:
            own = list_of(everyone.by_language, language)
        return walk([own, everyone.every], query, k, self._allowed(query), self.name)
