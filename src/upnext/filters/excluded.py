"""Hides the videos that the request itself rules out, and the one being watched."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns


class Excluded:
    """A Filter."""

    name: Final = "excluded"
    is_safety: Final = False

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: False for request.exclude and request.current_video_id."""
        request = query.request
        video_ids = [*request.exclude]
        if request.current_video_id is not None:
            video_ids.append(request.current_video_id)
        if not video_ids:
            return np.ones(len(candidates), np.bool_)
        return ~np.isin(candidates.item_id, self._view.item_ids(video_ids))
