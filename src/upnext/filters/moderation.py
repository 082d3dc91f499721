"""Hides videos whose moderation scores are above the platform's thresholds."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, in_limits
from upnext.filters.config import FiltersConfig


class Moderation:
    """A Filter; safety. A label without a threshold hides nothing; a video without the label has score 0."""

    name: Final = "moderation"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns, config: FiltersConfig) -> None:
        self._view = view
        # in float32, as scores are: a threshold of 0.8 must let a score of 0.8 pass
        self._highest = {
            name: float(np.float32(most)) for name, most in config.moderation_max.items()
        }

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where every score is at most its threshold."""
        item_id, view = candidates.item_id, self._view
        keep = in_limits(item_id, view.status, -math.inf, math.inf)  # it has the video
        for label, highest in self._highest.items():
            keep &= in_limits(item_id, view.moderation(label), -math.inf, highest)
        return keep

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        passes = np.ones(self._view.n_items, np.bool_)
        for label, highest in self._highest.items():
            passes &= self._view.moderation(label)[: len(passes)] <= highest
        return passes
