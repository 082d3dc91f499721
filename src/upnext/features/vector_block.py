"""Item columns from vectors: the video's own, and how near it lies to what the viewer liked, watched lately, skipped, or watches now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from upnext.core.types import Flag, Float32
from upnext.features.reading import Reading
from upnext.features.vector_table import VectorTable

N_RECENT = 10
_SKIPPED: Final = np.uint16(Flag.SKIPPED)


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
        mine = self._static.rows(reading.item_id)
        out[:, : self._size] = mine
        history = reading.history
        relevant = history.item_id[reading.relevant]
        skipped = history.item_id[(history.flags & _SKIPPED) != 0][-N_RECENT:]
        n_relevant, n_skipped = len(relevant), len(skipped)
        if not n_relevant and not n_skipped and reading.current < 0:
            return
        current = [reading.current] if reading.current >= 0 else []
        past = self._static.rows(np.concatenate([relevant, skipped, np.array(current, np.int64)]))
        groups = (
            past[:n_relevant], past[max(0, n_relevant - N_RECENT) : n_relevant],
            past[n_relevant : n_relevant + n_skipped], past[n_relevant + n_skipped :],
        )  # fmt: skip
        means = np.zeros((self._size, len(groups)), np.float32)
        for i, group in enumerate(groups):
            if len(group):
                means[:, i] = group.mean(axis=0)
        means /= np.maximum(np.sqrt((means * means).sum(axis=0)), 1e-6)
        norms = np.sqrt(np.einsum("ij,ij->i", mine, mine))
        np.divide(mine @ means, np.maximum(norms, 1e-6)[:, None], out=out[:, self._size :])


def _table(item_static: Float32 | VectorTable) -> VectorTable:
    return item_static if isinstance(item_static, VectorTable) else VectorTable(item_static)
