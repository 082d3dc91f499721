"""A source over a trained generator: the videos nearest to any of the viewer's query vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from upnext.core.id_set import IdSet
from upnext.core.types import NO_ITEMS, Bool, Candidates, Float32, Int64, Query
from upnext.retrieval.short_list import Allowed, all_allowed


class Embeds(Protocol):
    """What embeds viewers (retrieval.generator.Generator does)."""

    def vectors(self, query: Query) -> Float32: ...


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


class Nearest:
    """A Source: the viewer's query vectors, one search for all of them."""

    def __init__(
        self, name: str, generator: Embeds, index: Index, allowed: Allowed = all_allowed
    ) -> None:
        self.name = name
        self._generator, self._index, self._allowed = generator, index, allowed

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, allowed and neither seen nor served; the score is the largest inner product with a query vector.

        None for a viewer of whom the generator knows nothing."""
        vectors = self._generator.vectors(query)
        if not len(vectors):
            return Candidates.of_unique(self.name, NO_ITEMS, np.zeros(0, np.float32))
        ids, scores = self._index.search(vectors, k, self._allowed(query), without=query.left_out)
        item_id, score = best_of_each(ids, scores)
        return Candidates.of_unique(self.name, item_id[:k], score[:k])


def best_of_each(ids: Int64, scores: Float32) -> tuple[Int64, Float32]:
    """(unique ids int64[n], largest scores float32[n]), best first, ties by id, of the lists int64[q, k] of q searches, padded with -1.

    The k best by the largest score are among them: whoever beats them is in the list of the query that says so."""
    if len(ids) == 1:  # a list is unique and in order as it is
        item_id, score = ids[0], scores[0]
    else:
        item_id, score = ids.ravel(), scores.ravel()
        best_first = np.lexsort((item_id, -score))
        _, first = np.unique(item_id[best_first], return_index=True)
        kept = best_first[np.sort(first)]
        item_id, score = item_id[kept], score[kept]
    found = item_id >= 0
    if found.all():
        return item_id, score
    return item_id[found], score[found]
