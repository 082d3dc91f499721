"""Hides videos that may not be shown where the viewer is."""

from __future__ import annotations

from typing import Final

from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, in_limits


class Country:
    """A Filter; safety. The request's country counts before the profile's; an unknown one sees what is free everywhere."""

    name: Final = "country"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video is allowed in the viewer's country."""
        return in_limits(candidates.item_id, self.allowed_mask(query), True, True)

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        return self._view.allowed_in(query.request.country or query.user.profile.country)
