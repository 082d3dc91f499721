"""Item columns from vectors: the video's own, and how near it lies to what the viewer liked, watched lately, skipped, or watches now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.core.types import Flag, Float32, Int64
from upnext.features.reading import Reading
from upnext.features.vector_table import VectorTable

N_RECENT = 10


class VectorBlock:
    """`item_static` float32[m, s] by item_id; a video beyond its rows has zeros until `replace` brings it."""

    def __init__(
        self, item_static: Float32 | VectorTable, names: Sequence[str] | None = None
    ) -> None:
        own = (
            tuple(names)
            if names is not None
            else tuple(f"static_{i}" for i in range(_table(item_static).size))
        )
        self.names = (*own, "cos_relevant", "cos_recent", "cos_skipped", "cos_current")
        self._size = len(own)
        self.replace(item_static)

    def replace(self, item_static: Float32 | VectorTable) -> None:
        """Takes a table with more rows, of the same width."""
        self._static = _table(item_static)
        assert self._static.size == self._size

    def fill(self, out: Float32, reading: Reading) -> None:
        """float32[n, s + 4]."""
        mine = self._rows(reading.item_id)
        out[:, : self._size] = mine
        history = reading.history
        relevant = history.item_id[reading.relevant]
        skipped = history.item_id[(history.flags & Flag.SKIPPED) != 0]
        current = np.array([reading.current] if reading.current >= 0 else [], np.int64)
        groups = (relevant, relevant[-N_RECENT:], skipped[-N_RECENT:], current)
        if not any(len(group) for group in groups):
            return
        means = np.stack([self._mean(group) for group in groups], axis=1)  # [s, 4]
        norms = np.sqrt((mine * mine).sum(axis=1, keepdims=True))
        out[:, self._size :] = (mine @ means) / np.maximum(norms, 1e-6)

    def _mean(self, item_id: Int64) -> Float32:
        """float32[s]: the normalised mean of the videos' vectors, zeros for none."""
        if not len(item_id):
            return np.zeros(self._size, np.float32)
        mean = self._rows(item_id).mean(axis=0)
        return np.asarray(mean / max(float(np.sqrt((mean * mean).sum())), 1e-6), np.float32)

    def _rows(self, item_id: Int64) -> Float32:
        return self._static.rows(item_id)


def _table(item_static: Float32 | VectorTable) -> VectorTable:
    return item_static if isinstance(item_static, VectorTable) else VectorTable(item_static)
