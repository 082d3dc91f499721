"""Scores that the pipeline computed for every candidate before the ranker, such as the two-tower cosine, as columns."""

from __future__ import annotations

from collections.abc import Sequence

from upnext.core.types import Float32
from upnext.features.reading import Reading


class ScoreBlock:
    """One column per score; a candidate column of that name must be there, or the column is zero."""

    def __init__(self, scores: Sequence[str]) -> None:
        self._scores = tuple(scores)
        self.names = tuple(f"score:{name}" for name in self._scores)

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, scores] from column `at` on."""
        for i, name in enumerate(self._scores):
            column = reading.candidates.columns.get(name)
            if column is not None:
                items[:, at + i] = column
