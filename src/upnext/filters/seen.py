"""Hides what the viewer has seen lately or was served in this session."""

from __future__ import annotations

from typing import Final

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
        return ~query.left_out.has(candidates.item_id)
