"""A request beside a video: the video being watched is the viewer's latest showing, for every generator that reads a history."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from upnext.core.types import Flag, History, Query

WATCHING: Final = Flag.IMPRESSION | Flag.CLICK | Flag.WATCHED_HALF  # what it counts as, unfinished


class Named(Protocol):
    """What knows a video's item_id (CatalogView does); -1: unknown."""

    def item_id(self, video_id: str) -> int: ...


def beside(query: Query, videos: Named) -> Query:
    """The query with the video being watched at the end of its history; the same where there is none, or where it stands there."""
    named = query.request.current_video_id
    current = videos.item_id(named) if named else -1
    history = query.user.history
    if current < 0 or (len(history) and history.item_id[-1] == current):
        return query
    watched = History(
        np.append(history.item_id, current),
        np.append(history.time_us, query.request.time_us),
        np.append(history.watch_s, np.float32(0)),
        np.append(history.flags, np.uint16(WATCHING)),
    )
    return replace(query, user=replace(query.user, history=watched))
