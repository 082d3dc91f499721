"""Hides what the viewer does not want: muted creators and topics, videos they are not interested in."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.errors import Unavailable
from upnext.core.sorted_ids import among
from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns


class Muted:
    """A Filter; a topic is a category or a tag. Without the viewer's state it is Unavailable."""

    name: Final = "muted"
    is_safety: Final = False

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where nothing muted applies. Raises Unavailable when the state could not be read."""
        if "state" in query.degraded:
            raise Unavailable("filter 'muted': expected the viewer's state, got none")
        user, view, item_id = query.user, self._view, candidates.item_id
        keep = ~among(item_id, user.not_interested)
        if not len(user.muted_creators) and not user.muted_topics:
            return keep
        known = np.clip(item_id, 0, view.n_items - 1)
        hidden = among(view.creator[known], user.muted_creators)
        categories = [view.code("category", topic) for topic in user.muted_topics]
        tags = [view.code("tag", topic) for topic in user.muted_topics]
        hidden |= np.isin(view.category[known], [c for c in categories if c >= 0])
        hidden |= np.isin(view.tags[known], [t for t in tags if t >= 0]).any(axis=1)
        keep &= ~(hidden & (known == item_id))
        return keep
