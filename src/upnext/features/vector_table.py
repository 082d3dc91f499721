"""Vectors by item_id: a release's table, shared by all workers through the page cache, and rows for what came later."""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.errors import expected
from upnext.core.types import Array, Float32, Int64


class VectorTable:
    """float32[m, d] by item_id. `base` may be a memory map opened copy-on-write ("c")."""

    def __init__(self, base: Array) -> None:
        self._base = np.asarray(base)  # a plain view: memmap's own indexing costs more
        self._later = np.zeros((0, base.shape[1]), np.float32)  # ids from len(base) on

    @property
    def size(self) -> int:
        """d."""
        return int(self._base.shape[1])

    def rows(self, item_id: Int64) -> Float32:
        """float32[n, d]; zeros for a video that has no vector yet."""
        rows = np.empty((len(item_id), self.size), np.float32)
        _fill(rows, 0, self._base, self._later, item_id)
        return rows

    def fill(self, out: Float32, at: int, item_id: Int64) -> None:
        """Writes the rows into columns `at` to `at + d` of out float32[n, f]."""
        _fill(out, at, self._base, self._later, item_id)

    def products(self, item_id: Int64, vector: Float32) -> Float32:
        """float32[n]: the inner products of the rows with a vector float32[d]; 0 for a video that has no vector yet."""
        return _products(self._base, self._later, item_id, vector)

    def put(self, item_id: Int64, vectors: Float32) -> None:
        """Sets the rows of ids int64[m] to float32[m, d], in this process only."""
        if vectors.shape != (len(item_id), self.size):
            raise expected("vectors", f"float32[{len(item_id)}, {self.size}]", vectors.shape)
        n_base = len(self._base)
        old = item_id < n_base
        self._base[item_id[old]] = vectors[old]
        later = item_id[~old] - n_base
        if not len(later):
            return
        needed = int(later.max()) + 1
        if needed > len(self._later):
            grown = np.zeros((max(needed, 2 * len(self._later)), self.size), np.float32)
            grown[: len(self._later)] = self._later
            grown[later] = vectors[~old]
            self._later = grown  # readers see the old table or the whole new one
        else:
            self._later[later] = vectors[~old]


@compiled
def _fill(out: Float32, at: int, base: Array, later: Float32, item_id: Int64) -> None:
    n_base, n_all, size = len(base), len(base) + len(later), base.shape[1]
    for i in range(len(item_id)):
        item = item_id[i]
        row = out[
            i, at : at + size
        ]  # a loop over two slices is vectorised, one over offsets is not
        if 0 <= item < n_base:
            vector = base[item]
            for j in range(size):
                row[j] = vector[j]
        elif n_base <= item < n_all:
            row[:] = later[item - n_base]
        else:
            row[:] = 0.0


@compiled_sums
def _products(base: Array, later: Float32, item_id: Int64, vector: Float32) -> Float32:
    n_base = len(base)
    products = np.zeros(len(item_id), np.float32)
    for i in range(len(item_id)):
        item = item_id[i]
        if 0 <= item < n_base:
            products[i] = _product(base[item], vector)
        elif n_base <= item < n_base + len(later):
            products[i] = _product(later[item - n_base], vector)
    return products


@compiled_sums
def _product(left: Float32, right: Float32) -> np.float32:
    total = np.float32(0.0)
    for j in range(len(right)):
        total += left[j] * right[j]
    return total
