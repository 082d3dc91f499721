"""Vectors by item_id: a release's table, shared by all workers through the page cache, and rows for what came later."""

from __future__ import annotations

import numpy as np

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
        n_base = len(self._base)
        if not len(item_id) or int(item_id.max()) < n_base:
            # take, not an index: it copies row by row, twice as quick where every row is a cache miss
            return self._base.take(item_id, axis=0).astype(np.float32, copy=False)
        rows = np.zeros((len(item_id), self.size), np.float32)
        old = item_id < n_base
        rows[old] = self._base[item_id[old]]
        later = self._later
        new = ~old & (item_id < n_base + len(later))
        rows[new] = later[item_id[new] - n_base]
        return rows

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
