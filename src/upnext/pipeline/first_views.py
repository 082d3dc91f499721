"""Moves the vectors of new videos as their first viewers come in.

The state keeps each video's first viewers (features/first_viewers.py). A process that serves looks every few seconds which videos that its
release was not trained on have another count of relevant showings than before, embeds the viewers that came since, each as they were
before that showing, and gives the videos' new places to the index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import Unavailable
from upnext.core.types import Float32, Int64, Request
from upnext.features.first_viewers import FirstViewer
from upnext.features.live import StateReader
from upnext.pipeline.release_parts import ReleaseParts
from upnext.retrieval.material import VideoCodes

ACTIVE: Final = VIDEO_STATUSES.index("active")
COUNTER: Final = "relevant_total"
VIEWERS_A_TURN: Final = 2000  # embedded, about .2 ms each; the rest waits for the next turn


@dataclass(frozen=True)
class _Met:
    """A new video's viewers so far."""

    viewers: list[FirstViewer] = field(default_factory=list)
    total: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    count: float = 0.0  # of relevant showings when it was looked at


class FirstViews:
    """Of one release in one process."""

    def __init__(self, release: ReleaseParts, view: CatalogView, reader: StateReader) -> None:
        self._release, self._view, self._reader = release, view, reader
        self._met: dict[int, _Met] = {}

    def follow(self, now_us: int) -> Int64:
        """int64[m]: the videos that moved. Reads the counters as they are. Raises Unavailable."""
        counts = self._reader.counters.column(COUNTER, now_us)[: self._view.n_items]
        liked = np.flatnonzero(counts > 0).astype(np.int64)
        liked = liked[self._release.tower.are_new(liked)]
        shown = np.union1d(liked, np.array(list(self._met), np.int64))  # who liked it may not now
        stale = [
            item
            for item, count in zip(shown.tolist(), counts[shown].tolist())
            if item not in self._met or self._met[item].count != count
        ]
        moved: dict[int, _Met] = {}
        n_embedded = 0
        for item in stale:
            if n_embedded >= VIEWERS_A_TURN:
                break
            (viewers,) = self._reader.first_viewers([item])
            moved[item] = self._met_by(item, viewers, float(counts[item]))
            n_embedded += len(viewers)
        if moved:
            self._met.update(moved)
            self._place(np.array(list(moved), np.int64))
        return np.array(list(moved), np.int64)

    def _met_by(self, item: int, viewers: list[FirstViewer], count: float) -> _Met:
        """What is known of a video with these viewers; those that were known are not embedded again."""
        before = self._met.get(item, _Met())
        n_known, total = len(before.viewers), before.total
        if viewers[:n_known] != before.viewers or not n_known:  # one took it back: all anew
            n_known, total = 0, np.zeros(self._release.tower.embedding_size, np.float32)
        for viewer in viewers[n_known:]:
            total = total + self._vector(viewer)
        return _Met(viewers, total, count)

    def _vector(self, viewer: FirstViewer) -> Float32:
        """float32[d]: the viewer strictly before the showing, by what is kept of their history. Raises Unavailable."""
        asked = Request("", viewer.user_id, "", 1, viewer.time_us)
        query = self._reader.hydrate_past(asked)
        if query.degraded:
            raise Unavailable("a first viewer can't be read: the state is down")
        vector: Float32 = self._release.tower.vectors(query)[0]
        return vector

    def _place(self, item_id: Int64) -> None:
        met = [self._met[item] for item in item_id.tolist()]
        size = self._release.tower.embedding_size
        mean = np.stack(
            [one.total / len(one.viewers) if one.viewers else np.zeros(size) for one in met]
        ).astype(np.float32)
        n_viewers = np.array([max(one.count, len(one.viewers)) for one in met], np.int64)
        n_viewers[[not one.viewers for one in met]] = 0
        codes = VideoCodes.of(self._view, item_id)
        ids, vectors = self._release.tower.meet(item_id, mean, n_viewers, codes)
        self._release.vectors.put(ids, vectors)
        is_active = np.asarray(self._view.status[ids] == ACTIVE)
        self._release.index.add(ids[is_active], vectors[is_active])
        gone = np.setdiff1d(item_id, ids)  # nothing is known of them any more
        self._release.index.remove(gone)
