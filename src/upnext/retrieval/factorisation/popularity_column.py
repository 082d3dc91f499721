"""Recent popularity as one more number of every vector: score = match / (its deviation over videos) + weight * z(log(1 + recent relevant showings)).

The match of a viewer u has variance u' C u over videos, C being the covariance of the videos' factors, so that its scale is known without a pass
over the catalogue, and the sum stays an inner product that an index can search.
"""

from __future__ import annotations

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Flag, Float32
from upnext.features.showings import Showings
from upnext.retrieval.factorisation.interactions import newest_of

_LEAST = 1e-12


def recent_popularity(showings: Showings, n_items: int, half_life_d: float) -> Float32:
    """float32[n_items]: z(log(1 + relevant showings, each halved per half_life_d days before the newest)); rows without a time don't count.

    Zeros where all videos are alike."""
    counted = (showings.time_us > 0) & ((showings.flags & np.uint16(Flag.RELEVANT)) != 0)
    age_d = (newest_of(showings) - showings.time_us[counted]) / DAY_US
    count = np.bincount(showings.item_id[counted], np.exp2(-age_d / half_life_d), n_items)
    logged = np.log1p(count)
    deviation = logged.std()
    if deviation == 0:
        return np.zeros(n_items, np.float32)
    standard: Float32 = ((logged - logged.mean()) / deviation).astype(np.float32)
    return standard


def covariance_of(factors: Float32) -> Float32:
    """float32[d, d]: of videos' factors float32[i, d]."""
    centred = factors - factors.mean(0)
    found: Float32 = centred.T @ centred / np.float32(max(1, len(factors)))
    return found


def with_popularity(row: Float32, covariance: Float32) -> Float32:
    """float32[d + 1]: a viewer's row over the deviation of its match, then 1."""
    variance = max(float(row @ covariance @ row), _LEAST)
    deviation = np.float32(np.sqrt(variance))
    return np.append(row / deviation, np.float32(1))
