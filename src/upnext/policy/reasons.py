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
    score = -np.array([candidates.columns[f"source:{name}"] for name in names])
    own = score[:, rows]
    score.sort(axis=1)  # the best first, what a source did not propose last
    place = np.array([one.searchsorted(mine) for one, mine in zip(score, own)])
    place[np.isnan(own)] = nowhere = len(candidates)
    known = place.min(axis=0) < nowhere
    return tuple(
        names[source] if ok else NO_SOURCE
        for source, ok in zip(place.argmin(axis=0).tolist(), known.tolist())
    )
