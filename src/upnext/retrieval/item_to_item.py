"""Item to item: the neighbours of what the viewer watched lately, and of what is being watched now."""

from __future__ import annotations

import numpy as np

from upnext.core.distinct import distinct
from upnext.core.types import NO_ITEMS, Array, Candidates, Flag, Float32, Float64, Int64, Query
from upnext.retrieval.config import ItemToItemConfig
from upnext.retrieval.covisits import Neighbours, seed_weights
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, best_first, largest, unseen

SMALL_CATALOGUE = 100_000
_RELEVANT = np.uint16(Flag.RELEVANT)
_NONE = np.zeros(0, np.float32)


class ItemToItem:
    """A Source over precomputed neighbours."""

    name = "item_to_item"

    def __init__(
        self,
        videos: Videos,
        neighbours: Neighbours,
        config: ItemToItemConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._neighbours, self._allowed = videos, neighbours, allowed
        self._config = config = config or ItemToItemConfig()
        every = np.ones(config.n_seeds, np.bool_)
        self._if_relevant = seed_weights(config.n_seeds, every, config)  # of the latest n_seeds
        self._if_not = seed_weights(config.n_seeds, ~every, config)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the weighted sum of cosines to the seeds."""
        seeds, weight = self._seeds(query)
        current = self._current(query)
        if int(seeds.max(initial=-1)) >= len(self._neighbours.item_id):
            known = seeds < len(self._neighbours.item_id)
            seeds, weight = seeds[known], weight[known]
        ids = self._neighbours.item_id.take(seeds, axis=0).ravel()
        score = (self._neighbours.score.take(seeds, axis=0) * weight[:, None]).ravel()
        found, total = _summed(ids, score, self._videos.n_items)
        if current >= 0:
            total[found == current] = 0.0
        found, total = self._best(query, found, total, k)
        return Candidates.of_source(self.name, found, total.astype(np.float32))

    def _best(self, query: Query, found: Int64, total: Float64, k: int) -> tuple[Int64, Float64]:
        """The k unseen and allowed videos of largest total above 0, best first, ties by id."""
        allowed = self._allowed(query)
        rows = NO_ITEMS
        for n in (2 * k + 64, len(found)):  # the best alone are enough for most viewers
            rows = largest(total, n)
            rows = rows[unseen(query, found[rows], allowed) & (total[rows] > 0)]
            if len(rows) >= k or n >= len(found):
                break
        rows = rows[largest(total[rows], k)]
        rows = rows[best_first(found[rows], total[rows])[:k]]
        return found[rows], total[rows]

    def _seeds(self, query: Query) -> tuple[Int64, Float32]:
        """(item_id int64[s], weight float32[s]): latest showings oldest first, then the current video."""
        config, history = self._config, query.user.history
        seeds = history.item_id[-config.n_seeds :]
        n = len(seeds)
        is_relevant = (history.flags[len(history) - n :] & _RELEVANT) != 0
        weight = np.where(is_relevant, self._if_relevant[-n:], self._if_not[-n:]) if n else _NONE
        item_id = self._current(query)
        if item_id < 0:
            return seeds, weight
        now = config.current_weight * max(1.0, float(weight.sum()))
        seeds = np.concatenate([seeds, np.asarray([item_id], np.int64)])
        return seeds, np.append(weight, np.float32(now)).astype(np.float32)

    def _current(self, query: Query) -> int:
        """The item_id of the video being watched; -1 for none."""
        current = query.request.current_video_id
        return self._videos.item_id(current) if current else -1


def _summed(ids: Array, score: Array, n_items: int) -> tuple[Int64, Float64]:
    """(different ids int64[m], their summed scores float64[m]); ids below 0 are left out."""
    known = ids >= 0
    if not known.all():
        ids, score = ids[known], score[known]
    if (
        n_items <= SMALL_CATALOGUE
    ):  # a pass over the catalogue costs less than a sort of the neighbours
        total: Float64 = np.bincount(ids, score, n_items).astype(np.float64, copy=False)
        found = np.flatnonzero(total)
        return found.astype(np.int64), total[found]
    ids = ids.astype(np.int64)
    first, number = distinct(ids)
    return ids[first], np.bincount(number, score, len(first)).astype(np.float64, copy=False)
