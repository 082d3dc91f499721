"""Hides videos that are hidden, deleted or not yet described."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from upnext.core.columns import VIDEO_STATUSES
from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, Rows, in_catalog

_ACTIVE: Final = VIDEO_STATUSES.index("active")


class Status:
    """A Filter; safety."""

    name: Final = "status"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video is active."""
        return in_catalog(candidates.item_id, self._view, partial(self._passes, query))

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        return self._passes(query, slice(None))

    def _passes(self, query: Query, rows: Rows) -> Bool:
        return np.asarray(self._view.status[rows] == _ACTIVE)
