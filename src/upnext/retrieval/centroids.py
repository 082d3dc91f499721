"""Centroids of many lists in two steps: groups of centroids first, then the centroids of each group.

Plain k-means compares every vector with every centroid: 10 million vectors and 12,600 lists are 16 trillion multiplications an assignment. Here a vector is compared
with the centroids of its nearest groups, about the square root of the number of lists each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from upnext.core.types import Float32, Int64

faiss: Any = _faiss  # its stubs leave out what its Python layer adds
_ITERATIONS: Final = 10
_N_NEAR: Final = 4  # groups whose centroids a vector is compared with


@dataclass(frozen=True, slots=True)
class Centroids:
    """Of l lists in g groups."""

    groups: Float32  # [g, d]
    vectors: Float32  # [l, d], group after group
    starts: Int64  # [g + 1]: first centroid of each group

    @staticmethod
    def learn(sample: Float32, n_lists: int, seed: int) -> Centroids:
        """Of float32[m, d] with m >= n_lists, by k-means on inner products."""
        groups = _means(sample, max(1, int(np.sqrt(n_lists))), seed)
        of_group = (sample @ groups.T).argmax(axis=1)
        order = np.argsort(of_group, kind="stable")
        sizes = np.bincount(of_group, minlength=len(groups))
        first = np.concatenate([[0], np.cumsum(sizes)])
        n_of = np.diff(np.round(first * (n_lists / len(sample))).astype(np.int64))
        parts = [
            _means(sample[order[first[g] : first[g + 1]]], int(n_of[g]), seed)
            for g in range(len(groups))
        ]
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return Centroids(groups, np.concatenate(parts), starts.astype(np.int64))

    def nearest(self, vectors: Float32) -> npt.NDArray[np.int32]:
        """int32[n]: the list of each of float32[n, d], the largest inner product among the nearest groups."""
        n_near = min(_N_NEAR, len(self.groups))
        near = np.argpartition(-(vectors @ self.groups.T), n_near - 1, axis=1)[:, :n_near]
        order = np.argsort(near.ravel(), kind="stable")
        ends = np.searchsorted(near.ravel()[order], np.arange(len(self.groups) + 1))
        best = np.full(len(vectors), -np.inf, np.float32)
        found = np.zeros(len(vectors), np.int32)
        for g in range(len(self.groups)):
            rows = order[ends[g] : ends[g + 1]] // n_near
            first, last = self.starts[g], self.starts[g + 1]
            if not len(rows) or first == last:
                continue
            scores = vectors[rows] @ self.vectors[first:last].T
            at = scores.argmax(axis=1)
            top = scores[np.arange(len(rows)), at]
            better = top > best[rows]
            best[rows[better]] = top[better]
            found[rows[better]] = first + at[better]
        return found


def _means(vectors: Float32, k: int, seed: int) -> Float32:
    """float32[min(k, n), d]."""
    if k >= len(vectors):
        return vectors.copy()
    means = faiss.Kmeans(
        vectors.shape[1], k, niter=_ITERATIONS, seed=seed + 1, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=256,
    )  # fmt: skip
    means.train(np.ascontiguousarray(vectors))
    centroids: Float32 = means.centroids
    return centroids
