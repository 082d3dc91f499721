"""How well ranked lists hold what viewers found relevant, per viewer, so that every figure can carry an interval.

Definitions (the relevant set R of a viewer, the list cut at k, gain 1 for a relevant video):

    recall@k      hits / |R|                     recall_min@k  hits / min(k, |R|)
    precision@k   hits / k, also for shorter lists
    map@k         sum over j <= k of precision@j * relevant_j, over min(k, |R|)
    ndcg@k        sum over hits of 1 / log2(1 + place), over the same sum for min(k, |R|) hits on top ("achievable")
    hr@k          1 when any hit                 mrr@k         1 / place of the first hit, 0 without one

A viewer without a relevant video has no value (NaN) and is left out of every mean. A video listed twice counts at its first place.
Everything is computed from the place of each relevant pair, so the cost is that of the truth, not of the catalogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Float64, Int64
from upnext.evaluate.quotient import quotient
from upnext.evaluate.user_items import UserItems

_CELLS = 1 << 22


@dataclass(frozen=True, slots=True)
class Places:
    """Where each of p relevant pairs stands in its viewer's list."""

    user: Int64  # [p] ascending
    place: Int64  # [p] from 0; at or beyond the list's length: not listed
    n_relevant: Int64  # [u]

    @staticmethod
    def of(ranked: Int64, truth: UserItems) -> Places:
        """The places in ranked int64[u, K] (-1 pads) of the truth of u viewers.

        Raises InvalidInput when the number of viewers differs."""
        places = truth.places(ranked)
        unlisted = np.iinfo(np.int64).max
        places[places == ranked.shape[1]] = unlisted
        return Places(truth.users(), places, truth.counts())

    def where(self, mask: Bool) -> Places:
        """The pairs where mask bool[p] holds, as if they alone were relevant: the truth of one segment."""
        counts = np.bincount(self.user[mask], minlength=len(self.n_relevant))
        return Places(self.user[mask], self.place[mask], counts.astype(np.int64))

    def sum_by_user(self, gain: Float64) -> Float64:
        """float64[u]: the sum of gain float64[p] over each viewer's pairs."""
        return np.bincount(self.user, gain, minlength=len(self.n_relevant)).astype(np.float64)

    def n_hits(self, k: int) -> Float64:
        """float64[u]: how many relevant videos stand in the first k places."""
        return self.sum_by_user((self.place < _at_least_one(k)).astype(np.float64))


def recall(places: Places, k: int) -> Float64:
    """float64[u]: hits / |R|."""
    return quotient(places.n_hits(k), places.n_relevant)


def recall_min(places: Places, k: int) -> Float64:
    """float64[u]: hits / min(k, |R|), which a perfect list brings to 1."""
    return quotient(places.n_hits(k), np.minimum(k, places.n_relevant))


def precision(places: Places, k: int) -> Float64:
    """float64[u]: hits / k; NaN for a viewer without a relevant video."""
    return np.where(places.n_relevant > 0, places.n_hits(k) / k, np.nan)


def average_precision(places: Places, k: int) -> Float64:
    """float64[u]: AP@k; its mean over viewers is mAP@k."""
    order = np.lexsort((places.place, places.user))
    user, place = places.user[order], places.place[order]
    start = np.concatenate([[0], np.cumsum(places.n_relevant)])[:-1]
    hit_number = np.arange(len(user)) - start[user] + 1  # 1 for a viewer's best placed video
    is_hit = place < _at_least_one(k)
    gain = np.where(is_hit, hit_number / (np.where(is_hit, place, 0) + 1.0), 0.0)
    total = np.bincount(user, gain, minlength=len(places.n_relevant))
    return quotient(total, np.minimum(k, places.n_relevant))


def ndcg(places: Places, k: int) -> Float64:
    """float64[u]: NDCG@k with binary gain and the ideal that this viewer's truth allows."""
    discount = 1.0 / np.log2(np.arange(2, _at_least_one(k) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(k, places.n_relevant)]
    gain = np.where(places.place < k, discount[np.minimum(places.place, k - 1)], 0.0)
    return quotient(places.sum_by_user(gain), ideal)


def hit_rate(places: Places, k: int) -> Float64:
    """float64[u]: 1 where any relevant video stands in the first k places."""
    return np.where(places.n_relevant > 0, (places.n_hits(k) > 0).astype(np.float64), np.nan)


def reciprocal_rank(places: Places, k: int) -> Float64:
    """float64[u]: 1 / place (from 1) of the first relevant video within k, else 0; its mean is MRR@k."""
    best = np.full(len(places.n_relevant), np.iinfo(np.int64).max)
    np.minimum.at(best, places.user, places.place)
    is_hit = best < _at_least_one(k)
    gain = np.where(is_hit, 1.0 / (np.where(is_hit, best, 0) + 1.0), 0.0)
    return np.where(places.n_relevant > 0, gain, np.nan)


METRICS = {
    "recall": recall,
    "recall_min": recall_min,
    "precision": precision,
    "map": average_precision,
    "ndcg": ndcg,
    "hr": hit_rate,
    "mrr": reciprocal_rank,
}


def measure(places: Places, names: Sequence[str]) -> dict[str, Float64]:
    """{name: float64[u]} of names such as "recall@100".

    Raises InvalidInput for a name that is no metric at a k of at least 1."""
    values: dict[str, Float64] = {}
    for name in names:
        metric, _, k = name.partition("@")
        if metric not in METRICS or not k.isdecimal():
            raise expected("metric", f"one of {sorted(METRICS)} at a k, such as recall@10", name)
        values[name] = METRICS[metric](places, int(k))
    return values


def rank_by_score(
    score: Array, truth: UserItems, k: int, excluded: UserItems | None = None
) -> Int64:
    """int64[u, k]: the k best-scored videos of each viewer, best first, -1 pads; ties are conservative.

    score float[u, n_items], -inf (or NaN) never listed; excluded: videos never listed either. Among equal scores the relevant
    videos come last, then the lower id first, so that a constant score earns nothing by luck. Raises InvalidInput on another u.
    """
    if score.ndim != 2 or len(score) != truth.n_users:
        raise expected("score", f"float[{truth.n_users}, n_items]", score.shape)
    n_items = score.shape[1]
    ranked = np.full((len(score), k), -1, np.int64)
    for start in range(0, len(score), step := max(1, _CELLS // max(1, n_items))):
        rows = np.arange(start, min(start + step, len(score)))
        value = np.where(np.isnan(score[rows]), -np.inf, score[rows])
        is_relevant = _as_matrix(truth.take(rows), n_items)
        if excluded is not None:
            value[_as_matrix(excluded.take(rows), n_items)] = -np.inf
        best = np.lexsort((is_relevant, -value), axis=1)[:, :k]
        is_listed = np.take_along_axis(value, best, 1) > -np.inf
        ranked[rows, : best.shape[1]] = np.where(is_listed, best, -1)
    return ranked


def _as_matrix(sets: UserItems, n_items: int) -> Bool:
    matrix = np.zeros((sets.n_users, n_items), np.bool_)
    matrix[sets.users(), sets.item_id] = True
    return matrix


def _at_least_one(k: int) -> int:
    if k < 1:
        raise expected("k", "at least 1", k)
    return k
