"""Item to item: the neighbours of what the viewer watched lately, and of what is being watched now."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Candidates, Flag, Float32, Float64, Int64, Query
from upnext.retrieval.config import ItemToItemConfig
from upnext.retrieval.covisits import Neighbours, seed_weights
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, unseen

SMALL_CATALOGUE = 100_000


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
        self._config = config or ItemToItemConfig()

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the weighted sum of cosines to the seeds."""
        seeds, weight = self._seeds(query)
        current = self._current(query)
        known = seeds < len(self._neighbours.item_id)
        seeds, weight = seeds[known], weight[known]
        ids = np.asarray(self._neighbours.item_id[seeds]).ravel()
        score = (np.asarray(self._neighbours.score[seeds]) * weight[:, None]).ravel()
        found, total = _summed(ids, score, self._videos.n_items)
        keep = found != current
        found, total = found[keep], total[keep]
        keep = unseen(query, found, self._allowed(query))
        found, total = found[keep], total[keep]
        if len(found) > k:
            best = np.argpartition(-total, k - 1)[:k]
            found, total = found[best], total[best]
        order = np.lexsort((found, -total))
        return Candidates.of_source(self.name, found[order], total[order].astype(np.float32))

    def _seeds(self, query: Query) -> tuple[Int64, Float32]:
        """(item_id int64[s], weight float32[s]): latest showings oldest first, then the current video."""
        config = self._config
        history = query.user.history.last(config.n_seeds)
        is_relevant = (history.flags & np.uint16(Flag.RELEVANT)) != 0
        seeds, weight = history.item_id, seed_weights(len(history), is_relevant, config)
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
    """(ids int64[m] ascending, their summed scores float64[m]); ids below 0 are left out."""
    known = ids >= 0
    ids, score = ids[known], score[known]
    if (
        n_items <= SMALL_CATALOGUE
    ):  # a pass over the catalogue costs less than a sort of the neighbours
        total: Float64 = np.bincount(ids, score, n_items).astype(np.float64, copy=False)
        found = np.flatnonzero(total)
        return found.astype(np.int64), total[found]
    found, inverse = np.unique(ids, return_inverse=True)
    total = np.bincount(inverse, score, len(found)).astype(np.float64, copy=False)
    return found.astype(np.int64), total
