"""What the pipeline asks of the catalogue and the counters, as one small Protocol."""

from __future__ import annotations

from typing import Protocol

from upnext.core.types import Bool, Float64, Int64, Query


class World(Protocol):
    """All videos by item_id."""

    @property
    def n_items(self) -> int: ...

    def popularity(self, time_us: int) -> Float64:
        """float64[n_items]: how wanted each video is now."""
        ...

    def speaks(self, query: Query) -> Bool:
        """bool[n_items]: in a language the viewer speaks (the request's, else the profile's; unknown: all)."""
        ...

    def video_ids(self, item_ids: Int64) -> list[str]: ...
