"""How often each video is drawn, estimated while the training streams by (Yi 2019, algorithms 2 and 3).

The gap between two draws of a video is geometric with mean 1 / p. Each table keeps, in the bucket that the video's hash names, the
step A of the last draw and the moving mean B of the gap: B <- (1 - a) B + a (t - A). Videos that share a bucket make the gap shorter, never
longer; with several tables the longest gap counts, p = 1 / max_m B_m. The paper's step is a batch; ours is one draw of it, so that a
video which stands in a batch twice is known to, and p is a share of draws.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.randomness import key_of
from upnext.core.types import Array, Float32, Float64, Int64


class StreamingFrequency:
    """Moving estimates of the shares in which videos are drawn."""

    def __init__(self, n_hashes: int, n_buckets: int, rate: float, first_gap: float) -> None:
        """rate: a, the weight of the newest gap; first_gap: B of a video never drawn."""
        self._factor = np.array([key_of("frequency", i) | 1 for i in range(n_hashes)], np.uint64)
        self._n_buckets, self._rate = n_buckets, rate
        self._last = np.zeros((n_hashes, n_buckets), np.int64)  # A, by table and bucket
        self._gap = np.full((n_hashes, n_buckets), first_gap, np.float64)  # B
        self._step = 0

    def update(self, item_id: Int64) -> None:
        """Takes in the draws item_id int64[b], in their order."""
        _follow(self._last, self._gap, self._buckets(item_id), self._step, self._rate)
        self._step += len(item_id)

    def share(self, item_id: Int64) -> Float32:
        """float32[n]: the estimated share of each video among the draws."""
        buckets = self._buckets(item_id)
        gap = self._gap[np.arange(len(buckets))[:, None], buckets].max(axis=0)
        return np.asarray(1 / np.maximum(gap, 1), np.float32)

    def _buckets(self, item_id: Int64) -> Int64:
        """int64[m, n]: the bucket of each video in each table (multiplicative hashing: the product's upper half)."""
        product = (item_id.astype(np.uint64)[None, :] + np.uint64(1)) * self._factor[:, None]
        return ((product >> np.uint64(32)) % np.uint64(self._n_buckets)).astype(np.int64)

    def state(self) -> dict[str, Array]:
        """What `restore` takes."""
        return {"last": self._last, "gap": self._gap, "step": np.array(self._step)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Goes on from a state."""
        self._last, self._gap = np.array(state["last"]), np.array(state["gap"])
        self._step = int(state["step"])


@compiled
def _follow(last: Int64, gap: Float64, buckets: Int64, step: int, rate: float) -> None:
    for m in range(len(buckets)):
        for i in range(buckets.shape[1]):
            bucket, now = buckets[m, i], step + i + 1
            gap[m, bucket] += rate * (now - last[m, bucket] - gap[m, bucket])
            last[m, bucket] = now
