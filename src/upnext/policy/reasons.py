"""Why a video stands in its slot, in one word: the source that ranked it best among its own proposals."""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Candidates, Float32, Int64

NO_SOURCE = "ranked"


def strongest_sources(candidates: Candidates, rows: Int64) -> tuple[str, ...]:
    """The source name of each of rows int64[k]; ties go to the source asked first; "ranked" without any.

    Scores of two sources don't compare, places do: the place is how many of that source's proposals score higher."""
    names = candidates.sources()
    if not names:
        return (NO_SOURCE,) * len(rows)
    columns = [candidates.columns[f"source:{name}"] for name in names]
    score = np.concatenate(columns).reshape(len(names), len(candidates))
    called = (*names, NO_SOURCE)  # the last one is number -1
    return tuple([called[source] for source in _strongest(score, rows).tolist()])


@compiled
def _strongest(score: Float32, rows: Int64) -> Int64:
    """int64[k]: of the sources' scores [s, n], the number of that where each of rows int64[k] has the best place; -1 without any."""
    strongest = np.full(len(rows), -1)
    for slot in range(len(rows)):
        best = score.shape[1]
        for source in range(len(score)):
            if np.isnan(score[source, rows[slot]]):
                continue
            place = _n_above(score[source], score[source, rows[slot]])
            if place < best:
                strongest[slot], best = source, place
    return strongest


@compiled
def _n_above(score: Float32, own: float) -> int:
    """How many of the scores [n] are higher; NaN is not."""
    n = 0
    for i in range(len(score)):
        n += score[i] > own
    return n
