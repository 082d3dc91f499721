"""Item columns from the sources: who proposed the video, with what score and at which place of its list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Float32
from upnext.features.reading import Reading


class SourceBlock:
    """Which sources proposed the video, with what score and at which place."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = tuple(sources)
        self.names = (
            *(f"{what}:{name}" for name in self._sources for what in ("source", "has", "place")),
            "n_sources",
        )

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, 3 * sources + 1] from column `at` on."""
        n_sources = at + len(self.names) - 1
        for i, name in enumerate(self._sources):
            score = reading.candidates.columns.get(f"source:{name}")
            if score is not None:
                _fill_source(items, at + 3 * i, n_sources, score)


@compiled
def _fill_source(items: Float32, at: int, n_sources: int, score: Float32) -> None:
    """Writes three columns where score float32[n] is not NaN: the score, 1, and 1 / place among the scores; adds 1 to column `n_sources`."""
    proposed = np.empty(len(score), np.int64)
    n, is_ordered = 0, True
    for i in range(len(score)):
        if score[i] == score[i]:
            is_ordered = is_ordered and (n == 0 or score[proposed[n - 1]] >= score[i])
            proposed[n] = i
            n += 1
    best_first = proposed[:n]
    if not is_ordered:  # mostly as the source listed them, best first
        best_first = best_first[np.argsort(-score[best_first], kind="mergesort")]  # stable
    for place in range(n):
        i = best_first[place]
        items[i, at] = score[i]
        items[i, at + 1] = 1
        items[i, at + 2] = 1 / (place + 1)
        items[i, n_sources] += 1
