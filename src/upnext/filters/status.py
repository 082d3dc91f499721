"""Hides videos that are hidden, deleted or not yet described."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.columns import VIDEO_STATUSES
from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, in_limits

_ACTIVE: Final = VIDEO_STATUSES.index("active")


class Status:
    """A Filter; safety."""

    name: Final = "status"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video is active."""
        return in_limits(candidates.item_id, self._view.status, _ACTIVE, _ACTIVE)

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        return np.asarray(self._view.status == _ACTIVE)
