"""Popular: what viewers found relevant lately, in the viewer's language first."""

from __future__ import annotations

from upnext.core.types import Candidates, Query
from upnext.retrieval.config import PopularConfig
from upnext.retrieval.short_list import (
    EMPTY,
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    by_group,
    counted,
    language_of,
    list_of,
    top,
    walk,
)


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
        self._made_us: int | None = None
        self._all: ShortList = EMPTY
        self._by_language: dict[int, ShortList] = {}

    def refresh(self, time_us: int) -> None:
        """Makes the lists anew as of time_us, unless they are younger than the set age."""
        age_us = self._config.refresh_s * 1e6
        if self._made_us is not None and abs(time_us - self._made_us) < age_us:
            return
        n, config = self._videos.n_items, self._config
        values = counted(self._counts, config.counter, time_us, n)
        tie = counted(self._counts, config.tie_counter, time_us, n)
        values = values + 1e-3 * tie  # not in place: the columns may be the counters' own
        if config.by_language:
            self._by_language = by_group(values, self._videos.language[:n], config.size)
        self._all = top(values, config.size)
        self._made_us = time_us

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the decayed count."""
        if self._made_us is None:
            self.refresh(query.request.time_us)
        own = list_of(self._by_language, language_of(query, self._videos))
        return walk([own, self._all], query, k, self._allowed(query), self.name)
