"""Item columns from vectors: the video's own, and how near it lies to what the viewer liked, watched lately, skipped, or watches now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Bool, Flag, Float32, Int64, UInt16
from upnext.features.reading import Reading
from upnext.features.vector_table import VectorTable

N_RECENT = 10
_LEAST: Final = np.float32(1e-6)  # a shorter vector counts as this long
_SKIPPED: Final = np.uint16(Flag.SKIPPED)


class VectorBlock:
    """`item_static` float32[m, s] by item_id; a video beyond its rows has zeros until the table is given its row."""

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
        self._static = _table(item_static)
        assert self._static.size == self._size

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, s + 4] from column `at` on."""
        self._static.fill(items, at, reading.item_id)
        history = reading.history
        ids, ends = _past(history.item_id, history.flags, reading.relevant, reading.current)
        if len(ids):
            _fill_cosines(items, at, _directions(self._static.rows(ids), ends))


@compiled
def _past(
    item_id: Int64, flags: UInt16, relevant: Bool, current: int
) -> tuple[Int64, tuple[int, int, int]]:
    """(int64[m], ends): the videos found relevant, then those skipped lately, then the one being watched (-1: none), and where each part ends."""
    skipped = np.flatnonzero((flags & _SKIPPED) != 0)[-N_RECENT:]
    now = np.full(1 if current >= 0 else 0, current)
    ids = np.concatenate((item_id[relevant], item_id[skipped], now))
    n_relevant = len(ids) - len(skipped) - len(now)
    return ids, (n_relevant, n_relevant + len(skipped), len(ids))


@compiled_sums
def _directions(vectors: Float32, ends: tuple[int, int, int]) -> Float32:
    """float32[4, s]: where the relevant lie, the last of them, the skipped and the current, of vectors float32[m, s] as `_past` orders them."""
    relevant, skipped, current = ends
    directions = np.zeros((4, vectors.shape[1]), np.float32)
    _set_mean(directions[0], vectors[:relevant])
    _set_mean(directions[1], vectors[max(0, relevant - N_RECENT) : relevant])
    _set_mean(directions[2], vectors[relevant:skipped])
    _set_mean(directions[3], vectors[skipped:current])
    return directions


@compiled_sums
def _set_mean(direction: Float32, vectors: Float32) -> None:
    """Adds to zeros float32[s] the mean of vectors float32[m, s], made as long as one; nothing of none."""
    if not len(vectors):
        return
    for vector in vectors:
        for j in range(len(direction)):
            direction[j] += vector[j]
    square = np.float32(0)
    for j in range(len(direction)):
        direction[j] /= len(vectors)
        square += direction[j] * direction[j]
    length = max(np.sqrt(square), _LEAST)
    for j in range(len(direction)):
        direction[j] /= length


@compiled_sums
def _fill_cosines(items: Float32, at: int, directions: Float32) -> None:
    """Writes a column per direction float32[4, s]: its cosine with the vector that stands in the s columns from `at` on."""
    size = directions.shape[1]
    for i in range(len(items)):
        vector = items[i, at : at + size]
        square = np.float32(0)
        relevant, recent, skipped, current = square, square, square, square
        for j in range(size):
            square += vector[j] * vector[j]
            relevant += vector[j] * directions[0, j]
            recent += vector[j] * directions[1, j]
            skipped += vector[j] * directions[2, j]
            current += vector[j] * directions[3, j]
        length = max(np.sqrt(square), _LEAST)
        items[i, at + size] = relevant / length
        items[i, at + size + 1] = recent / length
        items[i, at + size + 2] = skipped / length
        items[i, at + size + 3] = current / length


def _table(item_static: Float32 | VectorTable) -> VectorTable:
    return item_static if isinstance(item_static, VectorTable) else VectorTable(item_static)
