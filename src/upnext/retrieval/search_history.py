"""Search history: videos whose title and tags match what the viewer searched for lately (BM25, word_index.py).

The words and pairs of words of the latest searches are one query; a token halves with every `token_half_life` tokens that came after it.
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.distinct import distinct
from upnext.core.types import Array, Bool, Candidates, Float32, Float64, Int64, Query
from upnext.retrieval.config import SearchHistoryConfig
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, best_open, mask_of
from upnext.retrieval.sums import add_to, found_in, sums_for
from upnext.retrieval.word_index import WordIndex, Words


class SearchHistory:
    """A Source over an inverted index."""

    name = "search_history"

    def __init__(
        self,
        videos: Videos,
        index: WordIndex,
        config: SearchHistoryConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._index, self._allowed = videos, index, allowed
        self._config = config = config or SearchHistoryConfig()
        self._weight = np.exp2(-np.arange(config.n_tokens) / config.token_half_life)  # latest first

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the sum of BM25 weights, of older searches less. None without searches."""
        index = self._index
        latest_first = query.user.searches[-self._config.n_tokens :][::-1].copy()
        first, _ = distinct(latest_first)
        tokens, weight = latest_first.take(first), self._weight.take(first)
        found, total = _matching(
            index.places(tokens), weight, index.words, index.is_replaced, *index.later(tokens)
        )
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        found, total = best_open(found, total, query.left_out.table, allowed, k)
        return Candidates.of_unique(self.name, found, total.astype(np.float32))


@compiled
def _matching(
    places: Int64, weight: Float64, words: Words, is_replaced: Bool,
    later_row: Int64, later_id: Int64, later_weight: Float32,
) -> tuple[Array, Float64]:  # fmt: skip
    """(videos int32[m] that have a token, float64[m] their weighted sums)."""
    n_places = len(later_id)
    for place in places:
        if place >= 0:  # counting reads all lists ahead, many at a time
            for at in range(words.start[place], words.start[place + 1]):
                n_places += (words.item_id[at] >= 0) & (words.weight[at] > 0)
    sums, n_found = sums_for(n_places), 0
    for j in range(len(later_id)):
        part = weight[later_row[j]] * later_weight[j]
        n_found = add_to(sums, n_found, later_id[j], part)
    for t in range(len(places) - 1, -1, -1):
        if places[t] < 0:
            continue
        for at in range(words.start[places[t]], words.start[places[t] + 1]):
            item_id = words.item_id[at]
            if not is_replaced[item_id]:
                n_found = add_to(sums, n_found, item_id, weight[t] * words.weight[at])
    return found_in(sums, n_found)
