"""Two ways to join a collaborative and a content list, as baselines beside the learned merge.

Parallel: both are made on their own and joined by reciprocal rank fusion (Cormack, Clarke & Buettcher 2009), the sum of 1 / (60 + place).
Sequential: the collaborative list is put into the content's order: one retrieves, the other ranks.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.types import Float32, Float64, Int64

RANK_CONSTANT: Final = 60.0  # Cormack et al.: how much the first places stand out


def parallel(first: Int64, second: Int64) -> Int64:
    """int64[u, K]: the K best of both lists int64[u, K] by reciprocal rank fusion, ties by id, -1 pads."""
    u, k = first.shape
    ids = np.hstack([first, second])
    gain = np.tile(1 / (RANK_CONSTANT + 1 + np.arange(k)), (u, 2))
    gain[ids < 0] = 0
    by_id = np.argsort(ids, axis=1, kind="stable")
    ids, gain = np.take_along_axis(ids, by_id, 1), np.take_along_axis(gain, by_id, 1)
    repeats = ids[:, 1:] == ids[:, :-1]  # a video of both lists: twice, side by side
    gain[:, :-1] += np.where(repeats, gain[:, 1:], 0)
    is_spare = np.zeros_like(ids, np.bool_)
    is_spare[:, 1:] = repeats
    return _ordered(np.where(is_spare, -1, ids), gain)[:, :k]


def sequential(collaborative: Int64, content: Float32) -> Int64:
    """int64[u, K]: the list int64[u, K] by descending content score float32[u, K] of its own videos, ties by id, -1 pads."""
    return _ordered(collaborative, content.astype(np.float64))


def _ordered(ids: Int64, score: Float64) -> Int64:
    """int64[u, m]: each row's ids by descending score, ties by id; those below 0 last."""
    order = np.lexsort((ids, -np.where(ids < 0, -np.inf, score)), axis=1)
    return np.take_along_axis(ids, order, 1)
