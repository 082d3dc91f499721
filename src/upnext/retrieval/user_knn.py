"""User-kNN: unseen videos of the viewers who watched what this one watched.

The viewer as they are now is compared with a release's sample of viewers (viewers.py) by cosine over their sets of videos: the latest
showings name videos, each names its latest viewers, and what is in common is summed. A video's score is its mean worth to the K most
similar, weighed by cosine (Herlocker et al. 1999, equation 1 without the ratings' means: feedback is implicit).
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Candidates, Float64, Int64, Query
from upnext.retrieval.config import UserKnnConfig
from upnext.retrieval.selection import best_of
from upnext.retrieval.short_list import Allowed, Videos, all_allowed, best_open, mask_of
from upnext.retrieval.sums import add_to, found_in, sums_for
from upnext.retrieval.viewers import Viewers


class UserKnn:
    """A Source over a sample of viewers."""

    name = "user_knn"

    def __init__(
        self,
        videos: Videos,
        viewers: Viewers,
        config: UserKnnConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._viewers, self._allowed = videos, viewers, allowed
        self._config = config = config or UserKnnConfig()
        back = np.arange(config.n_seeds - 1, -1, -1)
        self._weight = np.exp2(-back / config.seed_half_life)  # of the latest n_seeds

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed; the score is the mean worth of the video to the similar viewers, weighed by cosine: 1 if all found it relevant just now."""
        config, viewers = self._config, self._viewers
        seeds = query.user.history.item_id[-config.n_seeds :]
        similar, cosine = _similar(seeds, self._weight, viewers, config.n_neighbours)
        found, total = _videos_of(similar, cosine / max(cosine.sum(), 1e-30), viewers)
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        found, total = best_open(found, total, query.left_out.table, allowed, k)
        return Candidates.of_unique(self.name, found, total.astype(np.float32))


@compiled
def _similar(
    seeds: Int64, weight: Float64, viewers: Viewers, n_neighbours: int
) -> tuple[Int64, Float64]:
    """(viewers int64[m], cosines float64[m] times the viewer's own norm), m <= n_neighbours, most similar first.

    Of a video shown more than once the latest showing counts; one that the sample does not know has no viewers."""
    first, n_places = len(weight) - len(seeds), 0
    for seed in seeds:
        if seed < len(viewers.idf):  # counting reads all lists ahead, many at a time
            for place in range(viewers.item_start[seed], viewers.item_start[seed + 1]):
                n_places += viewers.places[place].part > 0
    sums, n_found = sums_for(n_places), 0
    for s in range(len(seeds)):
        seed = seeds[s]
        if seed >= len(viewers.idf) or (seeds[s + 1 :] == seed).any():
            continue
        own = weight[first + s] * viewers.idf[seed]
        for place in range(viewers.item_start[seed], viewers.item_start[seed + 1]):
            one = viewers.places[place]
            n_found = add_to(sums, n_found, one.viewer, own * one.part)
    found, total = found_in(sums, n_found)
    return best_of(found, total, n_neighbours)


@compiled
def _videos_of(similar: Int64, weight: Float64, viewers: Viewers) -> tuple[Int64, Float64]:
    """(different videos int32[m] of some viewers, float64[m] the sum of weight times worth over who watched each)."""
    n_places = 0
    for viewer in similar:
        for row in range(viewers.start[viewer], viewers.start[viewer + 1]):
            n_places += viewers.rows[row].worth > 0
    sums, n_found = sums_for(n_places), 0
    for j in range(len(similar) - 1, -1, -1):
        viewer = similar[j]
        for row in range(viewers.start[viewer], viewers.start[viewer + 1]):
            one = viewers.rows[row]
            if one.worth > 0:
                n_found = add_to(sums, n_found, one.item_id, weight[j] * one.worth)
    return found_in(sums, n_found)
