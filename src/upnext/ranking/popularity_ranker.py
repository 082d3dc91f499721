"""The ranker before the first training, and the cheap one under load: a video's own smoothed rate of relevance."""

from __future__ import annotations

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Features, Predictions

RATE_COLUMN = "rate_relevant_7d"


class PopularityRanker:
    """Predicts `relevant` for every viewer alike, from one item column."""

    def __init__(self, column: str = RATE_COLUMN) -> None:
        """`column`: the item column that holds a smoothed rate in [0, 1]."""
        self._column = column

    def predict(self, features: Features, *, share: bool = False) -> Predictions:
        """relevant float32[n, 1] = the column, cut to [0, 1]; NaN counts as 0.

        Raises InvalidInput when the features have no such column."""
        if self._column not in features.item_names:
            raise expected(
                "popularity ranker", f"an item column {self._column!r}", features.item_names
            )
        rate = np.nan_to_num(features.column(self._column), nan=0.0)
        return Predictions(("relevant",), np.clip(rate, 0, 1).astype(np.float32)[:, None])
