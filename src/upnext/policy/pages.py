"""Many pages at once by the code that draws one: for loops over a policy alone, where a request is a row of an array.

Each row is what policy/plackett_luce.py draws for these candidates with the same key and settings: slots, propensities and
the standardised values come from the same compiled functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.types import Float32, Float64, Int64
from upnext.policy.noise import noise_of
from upnext.policy.page import Terms, Videos, draw_rows
from upnext.policy.standardised import standardised

UInt64 = npt.NDArray[np.uint64]


class Requests(NamedTuple):
    """The candidates of r requests, each in ascending order of item_id; of n columns the first n_candidates are there."""

    value: Float32  # [r, n] finite
    item_id: Int64  # [r, n] rows of the tables below
    n_candidates: Int64  # [r]
    creator: Int64  # [v] codes by item_id, -1 unknown
    category: Int64  # [v] codes by item_id, -1 unknown
    vectors: Float32  # [v, d] unit rows by item_id; d = 0: nothing is similar


@compiled
def draw_pages(
    terms: Terms, requests: Requests, keys: UInt64, size: int
) -> tuple[Int64, Float64, Int64]:
    """(columns int64[r, size] of the videos drawn, -1 where candidates ran out; propensity float64[r, size] and n_eligible int64[r, size], then 0).

    keys uint64[r] are the draws' keys."""
    n_requests = len(requests.value)
    columns = np.full((n_requests, size), -1)
    propensity = np.zeros((n_requests, size))
    n_eligible = np.zeros((n_requests, size), np.int64)
    for i in range(n_requests):
        n = requests.n_candidates[i]
        if n == 0:
            continue
        item_id = requests.item_id[i, :n]
        videos = Videos(
            z=standardised(requests.value[i, :n]),
            category=requests.category[item_id],
            creator=requests.creator[item_id],
            vectors=requests.vectors[item_id],
        )
        k = min(size, n)
        rows, p, eligible = draw_rows(terms, videos, noise_of(keys[i], k))
        columns[i, :k] = rows
        propensity[i, :k] = p
        n_eligible[i, :k] = eligible
    return columns, propensity, n_eligible
