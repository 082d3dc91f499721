"""Values in units that mean the same for every ranker: standard deviations of a request's best."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Float32, Float64

N_BEST: Final = 50


@compiled
def standardised(value: Float32) -> Float64:
    """float64[n]: (value - mean) / standard deviation of the best N_BEST values; zeros where all are equal."""
    n = len(value)
    mean, spread = _mean_and_spread(_best_of(value))
    if spread == 0:
        # the best ones are all equal: fall back on the whole request, then on no preference at all
        _, spread = _mean_and_spread(value)
    z = np.zeros(n)
    if spread > 0:
        for i in range(n):
            z[i] = (value[i] - mean) / spread
    return z


@compiled
def _best_of(value: Float32) -> Float32:
    """float32[min(n, N_BEST)]: the best values, ascending, so that their sums don't depend on the order of the rest."""
    best = np.full(min(len(value), N_BEST), -np.inf, np.float32)
    for i in range(len(value)):
        if value[i] <= best[0]:
            continue
        place = 0  # the worst one leaves, those below the new one move down
        while place + 1 < len(best) and best[place + 1] < value[i]:
            best[place] = best[place + 1]
            place += 1
        best[place] = value[i]
    return best


@compiled
def _mean_and_spread(value: Float32) -> tuple[float, float]:
    """(mean, standard deviation), in double precision; 0 where it is but rounding."""
    total, squares = 0.0, 0.0
    for one in value:
        total += one
    mean = total / len(value)
    for one in value:
        squares += (one - mean) ** 2
    spread = math.sqrt(squares / len(value))
    return mean, spread if spread > 1e-12 * max(1.0, abs(mean)) else 0.0
