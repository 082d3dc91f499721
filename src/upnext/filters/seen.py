"""Hides what the viewer has seen lately or was served in this session."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.errors import Unavailable
from upnext.core.types import Bool, Candidates, Query


class Seen:
    """A Filter; without the viewer's state it is Unavailable, and the caller goes on, flagged."""

    name: Final = "seen"
    is_safety: Final = False

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video is neither seen nor served. Raises Unavailable when the state could not be read."""
        if "state" in query.degraded:
            raise Unavailable("filter 'seen': expected the viewer's state, got none")
        item_id, seen = candidates.item_id, query.user.seen
        keep = np.ones(len(item_id), np.bool_)
        if len(seen):  # sorted
            places = np.minimum(np.searchsorted(seen, item_id), len(seen) - 1)
            keep &= seen[places] != item_id
        if len(query.served):
            keep &= ~np.isin(item_id, query.served)
        return keep
