"""Several interests of one viewer, found anew at every request (Pal 2020, "PinnerSage").

What the viewer found relevant, and less of what they only watched, is clustered by Ward's method in the item vectors of another generator; a
cluster is searched with the vector of its medoid, a real video, never with a mean that may lie where no video is. Where the paper
clusters daily and follows online with the last action, this runs in a fraction of a millisecond, so nothing is ever out of date. Nothing is
trained or stored: the videos' vectors and the index are the other generator's, as settings are those of the day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.randomness import rng_for
from upnext.core.types import Float32, Int64, Query, Request, UInt16
from upnext.features.vector_table import VectorTable
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.interests.summary import decayed, importance_of, medoids_of, parts_of
from upnext.retrieval.interests.ward import clusters_of, ward_merges


@dataclass(frozen=True)
class Interests:
    """c interests of a viewer, the most important first."""

    item_id: Int64  # [c] the medoids
    vector: Float32  # [c, d] theirs, as the other generator gives them
    importance: Float32  # [c] sum of decayed parts of the showings in it
    size: Int64  # [c] showings in it


class InterestsGenerator:
    """Query vectors from a history. Its videos' vectors are those of another generator of the release."""

    def __init__(self, config: InterestsConfig, vectors: VectorTable) -> None:
        """vectors: the other generator's table, with what it brings in later."""
        self.config, self._vectors = config, vectors

    def vectors(self, query: Query) -> Float32:
        """float32[q, d]: the medoids of at most n_queries interests; none for a viewer who watched nothing that has a vector."""
        found = self.interests(query)
        return found.vector[chosen_of(found.importance, query.request, self.config)]

    def interests(self, query: Query) -> Interests:
        """Every interest of the viewer at the time of the request."""
        points, shown, weight = self.points(query)
        medoid, importance, size = _interests(points, weight, self.config.merge_cost)
        item_id = shown[medoid]
        return Interests(item_id, self._vectors.rows(item_id), importance, size)

    def points(self, query: Query) -> tuple[Float32, Int64, Float32]:
        """(points float32[p, d] of length one, their videos int64[p], decayed weights float32[p]): what is clustered, oldest first."""
        history, config = query.user.history.last(self.config.history_rows), self.config
        points, rows, weight = _points(
            self._vectors.rows(history.item_id), history.flags, history.time_us,
            query.request.time_us, config.watched_weight, config.decay_per_d,
        )  # fmt: skip
        return points, history.item_id[rows], weight


def chosen_of(importance: Float32, request: Request, config: InterestsConfig) -> Int64:
    """int64[q]: which interests a request is searched with, of c in descending importance[c]; at most n_queries, best or first drawn first.

    A draw is without replacement in proportion to importance (the least of exponential times divided by importance), the same for every
    asking of one request."""
    n = min(config.n_queries, len(importance))
    if config.chosen == "top":
        return np.arange(n)
    rng = rng_for("interests", request.seed, request.user_id, request.session_id, request.page)
    wait = rng.exponential(size=len(importance)) / np.maximum(importance, 1e-30)
    return np.argsort(wait, kind="stable")[:n]


@compiled
def _points(
    vectors: Float32, flags: UInt16, time_us: Int64, now_us: int,
    watched_weight: float, decay_per_d: float,
) -> tuple[Float32, Int64, Float32]:  # fmt: skip
    """(points float32[p, d] of length one, their rows int64[p] of the history, their weights float32[p]): rows that count and have a vector."""
    part = parts_of(flags, time_us, watched_weight)
    weight = decayed(part, time_us, now_us, decay_per_d)
    points, rows = np.empty_like(vectors), np.empty(len(vectors), np.int64)
    n_points = 0
    for row in range(len(vectors)):
        length = _length(vectors[row])
        if part[row] > 0 and 0 < length < np.inf:
            points[n_points] = vectors[row] / length
            rows[n_points], weight[n_points] = row, weight[row]
            n_points += 1
    return points[:n_points], rows[:n_points], weight[:n_points]


@compiled
def _interests(points: Float32, weight: Float32, merge_cost: float) -> tuple[Int64, Float32, Int64]:
    """(medoids int64[c] as rows of the points, importance float32[c] descending, sizes int64[c])."""
    kept, gone, _ = ward_merges(points, merge_cost)
    cluster = clusters_of(len(points), kept, gone)
    n_clusters = len(points) - len(kept)
    importance = importance_of(weight, cluster, n_clusters)
    order = np.argsort(-importance, kind="mergesort")
    size = np.bincount(cluster, minlength=n_clusters)
    return medoids_of(points, cluster, n_clusters)[order], importance[order], size[order]


@compiled
def _length(vector: Float32) -> float:
    total = np.float32(0)
    for d in range(len(vector)):
        total += vector[d] * vector[d]
    return float(np.sqrt(total))
