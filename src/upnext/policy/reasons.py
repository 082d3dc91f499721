"""Why a video stands in its slot, in one word: the source that ranked it best among its own proposals."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Candidates, Int64

NO_SOURCE = "ranked"


def strongest_sources(candidates: Candidates, rows: Int64) -> tuple[str, ...]:
    """The source name of each of rows int64[k]; ties go to the source asked first; "ranked" without any.

    Scores of two sources don't compare, places do: the place is how many of that source's proposals score higher."""
    names = candidates.sources()
    if not names:
        return (NO_SOURCE,) * len(rows)
    place = np.full((len(names), len(rows)), np.inf)
    for i, name in enumerate(names):
        score = candidates.columns[f"source:{name}"]
        own = score[rows]
        higher = np.count_nonzero(score[:, None] > own[None, :], axis=0)
        place[i] = np.where(np.isnan(own), np.inf, higher)
    best = np.argmin(place, axis=0)
    known = np.isfinite(place[best, np.arange(len(rows))])
    return tuple(names[b] if ok else NO_SOURCE for b, ok in zip(best, known, strict=True))
