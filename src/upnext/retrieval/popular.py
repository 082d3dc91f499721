"""Popular: what viewers found relevant lately, in the viewer's language first."""

from __future__ import annotations

from upnext.core.types import Candidates, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import PopularConfig
from upnext.retrieval.short_list import (
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
        self._lists = Aged(self._made, self._config.refresh_s)

    def refresh(self, time_us: int) -> None:
        """Makes the lists anew as of time_us, unless they are younger than the set age."""
        self._lists.refresh(time_us)

    def _made(self, time_us: int) -> tuple[dict[int, ShortList], ShortList]:
        """(by language, of all)."""
        n, config = self._videos.n_items, self._config
        values = counted(self._counts, config.counter, time_us, n)
        tie = counted(self._counts, config.tie_counter, time_us, n)
        values = values + 1e-3 * tie  # not in place: the columns may be the counters' own
        languages = self._videos.language[:n]
        by_language = by_group(values, languages, config.size) if config.by_language else {}
        return by_language, top(values, config.size)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the decayed count."""
        by_language, every = self._lists.at(query.request.time_us)
        own = list_of(by_language, language_of(query, self._videos))
        return walk([own, every], query, k, self._allowed(query), self.name)
