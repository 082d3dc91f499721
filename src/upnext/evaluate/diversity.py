"""What lists look like beside being right: how much of the catalogue they use, how alike their videos are, how popular.

Pairwise-similarity diversity is 1 - mean cosine over the k(k-1)/2 pairs of a list (design A); it is computed from the sum of the unit
vectors, |sum v|^2 = sum |v|^2 + 2 * (sum over pairs of v.w), so no pair is ever formed. Gini = sum_j (2j - n - 1) x_(j) / (n sum x)
over all n videos, those never listed included: 0 when all are listed equally often, near 1 when a few take everything.
Lists are int64[u, K], best first, -1 pads; only the first k places count.
"""

from __future__ import annotations

import math

import numpy as np

from upnext.core.types import Array, Estimate, Float32, Float64, Int64
from upnext.evaluate.bootstrap import estimate_of, resample
from upnext.evaluate.quotient import quotient
from upnext.evaluate.user_items import UserItems

_CELLS = 1 << 22  # vector cells gathered in one go: 16 MiB of float32


def coverage(counts: Array, n_items: int) -> Float64:
    """float64[...]: the share of n_items videos that stand in any list; counts [..., m] of m of them, the rest unlisted."""
    return np.asarray(np.count_nonzero(counts, axis=-1) / max(1, n_items), np.float64)


def gini(counts: Array, n_items: int) -> Float64:
    """float64[...]: how unequal the places are shared by n_items videos; counts [..., m] of m of them, the rest unlisted.

    NaN when nothing is listed."""
    ordered = np.sort(counts, axis=-1)
    n_listed = ordered.shape[-1]  # the zeros of the others come first and add nothing to the sum
    weight = 2.0 * np.arange(n_items - n_listed + 1, n_items + 1) - n_items - 1
    return quotient(ordered @ weight, n_items * ordered.sum(-1, dtype=np.float64))


def concentration(
    ranked: Int64,
    k: int,
    n_items: int,
    *,
    viewer: Int64 | None = None,
    n_resamples: int = 200,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """(coverage@k, Gini) of the lists of u viewers, with intervals over viewers.

    viewer int64[lists]: whose each list is, 0 .. u-1 (None: list i is viewer i's). The counts of a block of resamples are one product
    of a sparse matrix (videos by viewers) and the resampling counts. A resample has fewer different viewers than the sample, so
    coverage's interval lies at and below its figure."""
    from scipy.sparse import csr_matrix

    viewer = np.arange(len(ranked)) if viewer is None else viewer
    n_users = int(viewer.max(initial=-1)) + 1
    row, column = np.nonzero(ranked[:, :k] >= 0)
    items, cell = np.unique(ranked[row, column], return_inverse=True)
    ones = np.ones(len(row), np.float32)  # counts below 2^24 are exact
    places = csr_matrix((ones, (cell, viewer[row])), shape=(len(items), n_users))

    def both(users: Float64) -> Float64:
        counts = np.ascontiguousarray((places @ users.astype(np.float32).T).T)
        return np.stack([coverage(counts, n_items), gini(counts, n_items)], axis=-1)

    if not n_users:
        return estimate_of(math.nan, np.zeros(0), 0), estimate_of(math.nan, np.zeros(0), 0)
    point = both(np.ones((1, n_users)))[0]
    blocks = resample(n_users, n_resamples=n_resamples, seed=seed, cells=_CELLS // 32)
    draws = np.concatenate([both(users) for users in blocks])
    covered, unequal = (estimate_of(point[j], draws[:, j], n_users) for j in range(2))
    return covered, unequal


def list_diversity(ranked: Int64, k: int, vectors: Float32) -> Float64:
    """float64[u]: 1 - mean cosine over the pairs of the first k videos; NaN with fewer than two.

    vectors float32[n_items, d], any length; a zero vector (nothing known) is orthogonal to everything."""
    listed, size = ranked[:, :k], max(1, k * vectors.shape[1])
    total = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), step := max(1, _CELLS // size)):
        part = listed[start : start + step]
        units = _unit(vectors[np.maximum(part, 0)].astype(np.float64))
        units[part < 0] = 0.0
        of_sum = np.square(units.sum(1)).sum(1)
        of_each = np.square(units).sum((1, 2))
        n_videos = (part >= 0).sum(1)
        n_pairs = n_videos * (n_videos - 1) / 2
        total[start : start + step] = 1.0 - quotient((of_sum - of_each) / 2, n_pairs)
    return total


def catalogue_diversity(vectors: Float32) -> float:
    """The list diversity that a random list has on average: 1 - mean cosine over all pairs of the catalogue; NaN below two."""
    n_items, step = len(vectors), max(1, _CELLS // max(1, vectors.shape[1]))
    if n_items < 2:
        return float("nan")
    total, of_each = np.zeros(vectors.shape[1]), 0.0
    for start in range(0, n_items, step):
        units = _unit(vectors[start : start + step].astype(np.float64))
        total += units.sum(0)
        of_each += float(np.square(units).sum())
    pairs = np.square(total).sum() - of_each
    return float(1.0 - pairs / (n_items * (n_items - 1)))


def category_diversity(ranked: Int64, k: int, category: Array) -> Float64:
    """float64[u]: the share of a list's pairs with different categories; NaN with fewer than two known ones.

    category int[n_items], -1 unknown: such videos form no pair."""
    listed = ranked[:, :k]
    codes = np.where(listed >= 0, np.asarray(category)[np.maximum(listed, 0)], -1)
    n_known = (codes >= 0).sum(1)
    n_same = np.zeros(len(ranked))
    ordered = np.sort(codes, axis=1)
    for gap in range(
        1, ordered.shape[1]
    ):  # pairs at distance `gap` in sorted order, equal iff of one category
        n_same += ((ordered[:, gap:] == ordered[:, :-gap]) & (ordered[:, gap:] >= 0)).sum(1)
    n_pairs = n_known * (n_known - 1) / 2
    return 1.0 - quotient(n_same, n_pairs)


def popularity_lift(ranked: Int64, k: int, truth: UserItems, popularity: Array) -> Float64:
    """float64[u]: mean log(1 + popularity) of a viewer's list less that of the viewer's truth; NaN where either is empty.

    popularity float[n_items]: a count from before the test window (the report takes showings). Above 0: the list is more popular than what was liked."""
    log_popularity = np.log1p(np.asarray(popularity, np.float64))
    relevant = np.bincount(truth.users(), log_popularity[truth.item_id], minlength=truth.n_users)
    return _mean_listed(ranked[:, :k], log_popularity) - quotient(relevant, truth.counts())


def novelty(ranked: Int64, k: int, popularity: Array) -> Float64:
    """float64[u]: mean self-information of a list in bits, -log2((popularity + 1) / (sum + n_items)); NaN for an empty list."""
    counts = np.asarray(popularity, np.float64) + 1.0
    return _mean_listed(ranked[:, :k], -np.log2(counts / counts.sum()))


def mean_popularity(ranked: Int64, k: int, popularity: Array) -> Float64:
    """float64[u]: mean count of a list's videos (ARP, average recommendation popularity, Yin et al. 2012); NaN for an empty list."""
    return _mean_listed(ranked[:, :k], np.asarray(popularity, np.float64))


def _mean_listed(listed: Int64, value: Float64) -> Float64:
    is_video = listed >= 0
    total = np.where(is_video, value[np.maximum(listed, 0)], 0.0).sum(1)
    return quotient(total, is_video.sum(1))


def _unit(vectors: Float64) -> Float64:
    length = np.sqrt(np.square(vectors).sum(-1, keepdims=True))
    return vectors / np.where(length > 0, length, 1.0)
