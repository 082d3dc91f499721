"""How many lists a search must read: measured against exact search on the very vectors, under filters of several shares.

One nprobe gave a recall@500 of .986 and of .744 on two sets of vectors, and .55 under a 1.8 % filter (DEPS section 1), so the effort
is found anew at every build, for no filter and for filters that allow 50, 20, 10, 5, 2 and .5 %: once at random, once all on one side of
the space, as a language or a country is. The larger effort of the two counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Array, Bool, Float32, Int64

SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.005)
K = 500
STEP = 1.2  # from one nprobe tried to the next

Search = Callable[
    [Float32, int, Bool | None, int], Int64
]  # queries, k, allowed rows, nprobe -> rows


@dataclass(frozen=True)
class Effort:
    """What a filter of this share costs."""

    share: float  # of the vectors that the filter allows
    nprobe: int
    recall: float  # @500, measured


def calibrate(
    search: Search, vectors: Array, queries: Float32, n_lists: int, target: float, seed: int
) -> tuple[Effort, ...]:
    """The first nprobe, a fifth above the one before, that reaches the target, for each share; never less than a larger share needs."""
    rng = np.random.default_rng(seed)
    efforts: list[Effort] = []
    least = 8
    for share in SHARES:
        worst = Effort(share, min(least, n_lists), 1.0)
        for allowed in _filters(vectors, share, rng):
            found = _enough(search, vectors, queries, allowed, worst.nprobe, n_lists, target, share)
            if found.nprobe > worst.nprobe or found.recall < worst.recall:
                worst = found
        efforts.append(worst)
        least = worst.nprobe
    return tuple(efforts)


def nprobe_for(efforts: tuple[Effort, ...], share: float) -> int:
    """The effort measured for the largest share that is not above this one (the last one below all)."""
    for effort in efforts:
        if share >= effort.share:
            return effort.nprobe
    return efforts[-1].nprobe


def exact(queries: Float32, vectors: Array, k: int, rows: Int64 | None = None) -> Int64:
    """int64[b, k]: rows of the k largest inner products among the given rows, in no order."""
    part: Float32 = (vectors if rows is None else vectors[rows]).astype(np.float32)
    best = np.empty((len(queries), k), np.int64)
    for at in range(0, len(queries), 8):
        scores = queries[at : at + 8] @ part.T
        best[at : at + 8] = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return best if rows is None else rows[best]


def _filters(vectors: Array, share: float, rng: np.random.Generator) -> list[Bool | None]:
    if share >= 1:
        return [None]
    sample = rng.choice(len(vectors), min(len(vectors), 20_000), replace=False)
    direction = np.asarray(rng.standard_normal(vectors.shape[1]), np.float32)
    side: Float32 = np.asarray(vectors, np.float32) @ direction
    cut = np.quantile(side[sample], 1 - share)
    return [rng.random(len(vectors)) < share, np.asarray(side >= cut)]


def _enough(
    search: Search, vectors: Array, queries: Float32, allowed: Bool | None, nprobe: int,
    n_lists: int, target: float, share: float,
) -> Effort:  # fmt: skip
    rows = None if allowed is None else np.flatnonzero(allowed)
    n_found = len(vectors) if rows is None else len(rows)
    k = max(1, min(K, n_found))
    if n_found == 0:
        return Effort(share, nprobe, 1.0)
    truth = exact(queries, vectors, k, rows)
    while True:
        found = search(queries, k, allowed, nprobe)
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found))
        recall = hits / truth.size
        if recall >= target or nprobe >= n_lists:
            return Effort(share, nprobe, recall)
        nprobe = min(int(np.ceil(nprobe * STEP)), n_lists)
