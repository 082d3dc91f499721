"""Item to item: the neighbours of what the viewer watched lately, and of what is being watched now."""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import (
    Array,
    Candidates,
    Flag,
    Float32,
    Float64,
    Int64,
    Query,
    UInt16,
)
from upnext.retrieval.config import ItemToItemConfig
from upnext.retrieval.covisits import Neighbours, seed_weights
from upnext.retrieval.short_list import (
    Allowed,
    Videos,
    all_allowed,
    best_open,
    mask_of,
)
from upnext.retrieval.sums import add_to, found_in, sums_for

_RELEVANT = np.uint16(Flag.RELEVANT)


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
        found, total = _summed(
            seeds, weight, self._neighbours.item_id, self._neighbours.score, self._current(query)
        )
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        found, total = best_open(found, total, query.left_out.table, allowed, k)
        return Candidates.of_unique(self.name, found, total.astype(np.float32))

    def _seeds(self, query: Query) -> tuple[Int64, Float32]:
        """(item_id int64[s], weight float32[s]): latest showings oldest first, then the current video."""
        config, history = self._config, query.user.history
        seeds = history.item_id[-config.n_seeds :]
        weight = _weights(history.flags[-config.n_seeds :], self._if_relevant, self._if_not)
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


@compiled
def _weights(flags: UInt16, if_relevant: Float32, if_not: Float32) -> Float32:
    """float32[s]: of s showings the last s of one array or the other."""
    weight = np.empty(len(flags), np.float32)
    first = len(if_not) - len(flags)
    for s in range(len(flags)):
        weight[s] = if_relevant[first + s] if flags[s] & _RELEVANT else if_not[first + s]
    return weight


@compiled
def _summed(
    seeds: Int64, weight: Float32, neighbour: Array, score: Array, current: int
) -> tuple[Int64, Float64]:
    """(different neighbours int32[m] of seeds int64[s], their weighted sums of scores float64[m], above 0), without `current`.

    A seed beyond the neighbours' table, a video that came later, has none."""
    n_at_most = 0  # counting reads all rows ahead, many at a time: a sum would wait for each
    for seed in seeds:
        if seed < len(neighbour):
            for j in range(neighbour.shape[1]):
                n_at_most += (neighbour[seed, j] >= 0) & (score[seed, j] > 0)
    sums, n_found = sums_for(n_at_most), 0
    for s in range(len(seeds)):
        if seeds[s] >= len(neighbour):
            continue
        for j in range(neighbour.shape[1]):
            item_id, part = neighbour[seeds[s], j], weight[s] * score[seeds[s], j]
            if item_id >= 0 and item_id != current and part > 0:
                n_found = add_to(sums, n_found, item_id, part)
    return found_in(sums, n_found)
