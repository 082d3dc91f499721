"""The showings of a run as the marginals count them: rounds go in, columns come out."""

from __future__ import annotations

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array
from upnext.simulate.loop import Round
from upnext.simulate.marginals import Shown
from upnext.simulate.world import World

SAID = ("like", "follow", "comment", "share", "dislike")


class ShownLog:
    """Keeps of each round what marginals need, about 40 bytes a showing."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._parts: list[Shown] = []

    def __len__(self) -> int:
        """The number of showings so far."""
        return sum(len(part.viewer) for part in self._parts)

    def add(self, one: Round) -> None:
        """Takes a round's impressions of videos that the world knows, at their page's time."""
        rows = np.flatnonzero(one.done.reached & (one.shown.video >= 0))
        shown, done = one.shown.take(rows), one.done.take(rows)
        self._parts.append(
            Shown(
                shown.viewer.astype(np.int32),
                shown.video.astype(np.int32),
                shown.time_us,
                self._world.videos.duration_s[shown.video].astype(np.float32),
                done.watch_s.astype(np.float32),
                {kind: getattr(done, kind) for kind in SAID},
                self._world.n_videos,
            )
        )

    def shown(self) -> Shown:
        """Every row so far. Raises InvalidInput before the first round."""
        parts = self._parts
        if not parts:
            raise expected("a simulated log", "at least one showing", 0)

        def joined(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in parts])

        return Shown(
            joined("viewer").astype(np.int64),
            joined("video").astype(np.int64),
            joined("shown_us"),
            joined("duration_s").astype(np.float64),
            joined("watch_s").astype(np.float64),
            {kind: np.concatenate([part.said[kind] for part in parts]) for kind in SAID},
            self._world.n_videos,
        )
