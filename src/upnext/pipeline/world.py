"""What the pipeline asks of the catalogue and the counters, as one small Protocol, and its one implementation."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.core.types import Bool, Float64, Int64, Query
from upnext.features.counters import CounterTable

_N_KEPT: Final = 100_000  # video ids in memory, about 15 MB


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


class CatalogWorld:
    """A World over a catalogue's view and counters."""

    def __init__(self, view: CatalogView, counters: CounterTable) -> None:
        self._view = view
        self._counters = counters
        self._video_ids: dict[
            int, str
        ] = {}  # of what was shown; an item_id never changes its video

    @property
    def n_items(self) -> int:
        """How many videos there are."""
        return self._view.n_items

    def popularity(self, time_us: int) -> Float64:
        """float64[n_items]: relevant showings with a half-life of a week."""
        values = np.zeros(self._view.n_items)
        counted = self._counters.column("relevant_7d", time_us)[: len(values)]
        values[: len(counted)] = counted
        return values

    def speaks(self, query: Query) -> Bool:
        """bool[n_items]: in the viewer's language; all where it is unknown."""
        language = query.request.language or query.user.profile.language
        code = self._view.code("language", language)
        if code < 0:
            return np.ones(self._view.n_items, np.bool_)
        return np.asarray(self._view.language == code)

    def video_ids(self, item_ids: Int64) -> list[str]:
        """The platform's ids; those of videos shown before are read once."""
        wanted, kept = item_ids.tolist(), self._video_ids
        missing = [item for item in wanted if item not in kept]
        if missing:
            if len(kept) > _N_KEPT:
                kept = self._video_ids = {}
                missing = wanted
            read = self._view.video_ids(np.array(missing, np.int64))
            kept.update(zip(missing, read, strict=True))
        return [kept[item] for item in wanted]
