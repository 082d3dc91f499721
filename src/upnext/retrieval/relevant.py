"""Relevant: the videos nearest to the viewer in the two-tower space."""

from __future__ import annotations

from typing import Protocol

from upnext.core.id_set import IdSet
from upnext.core.types import Bool, Candidates, Float32, Int64, Query
from upnext.retrieval.short_list import Allowed, all_allowed


class ViewerTower(Protocol):
    """What embeds viewers (retrieval.two_tower.user_tower.UserTower)."""

    def vector(self, query: Query) -> Float32: ...


class Index(Protocol):
    """A VectorIndex that can leave ids out besides a filter (retrieval.inverted_index.InvertedIndex)."""

    def search(
        self,
        vectors: Float32,
        k: int,
        allowed: Bool | None = None,
        *,
        without: IdSet | None = None,
    ) -> tuple[Int64, Float32]: ...


class Relevant:
    """A Source: one embedding of the viewer, one search."""

    name = "relevant"

    def __init__(self, tower: ViewerTower, index: Index, allowed: Allowed = all_allowed) -> None:
        self._tower, self._index, self._allowed = tower, index, allowed

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, nearest first, allowed and neither seen nor served; the score is the cosine."""
        vector = self._tower.vector(query)
        ids, scores = self._index.search(
            vector[None], k, self._allowed(query), without=query.left_out
        )
        item_id, score = ids[0], scores[0]
        if len(item_id) and item_id[-1] < 0:  # fewer than k, best first
            found = item_id >= 0
            item_id, score = item_id[found], score[found]
        return Candidates.of_unique(self.name, item_id, score)
