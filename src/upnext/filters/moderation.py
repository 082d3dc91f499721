"""Hides videos whose moderation scores are above the platform's thresholds."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, Rows, in_catalog
from upnext.filters.config import FiltersConfig


class Moderation:
    """A Filter; safety. A label without a threshold hides nothing; a video without the label has score 0."""

    name: Final = "moderation"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns, config: FiltersConfig) -> None:
        self._view = view
        self._thresholds = dict(config.moderation_max)

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where every score is at most its threshold."""
        return in_catalog(candidates.item_id, self._view, partial(self._passes, query))

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        return self._passes(query, slice(None))

    def _passes(self, query: Query, rows: Rows) -> Bool:
        passes = np.ones(len(self._view.status[rows]), np.bool_)
        for label, highest in self._thresholds.items():
            # in float32, as scores are: a threshold of 0.8 must let a score of 0.8 pass
            passes &= self._view.moderation(label)[rows][: len(passes)] <= np.float32(highest)
        return passes
