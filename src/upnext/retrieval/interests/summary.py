"""What stands for an interest and how much it counts: the medoid and the decayed importance of each cluster of a history (Pal 2020)."""

from __future__ import annotations

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Flag, Float32, Int64, UInt16

_RELEVANT = np.uint16(Flag.RELEVANT)
_WATCHED = np.uint16(Flag.WATCHED | Flag.CLICK | Flag.COMPLETED | Flag.LONG_VIEW)
_REJECTED = np.uint16(Flag.DISLIKE | Flag.NOT_INTERESTED)
_SKIPPED = np.uint16(Flag.SKIPPED)


@compiled
def parts_of(flags: UInt16, time_us: Int64, watched_weight: float) -> Float32:
    """float32[h]: 1 for a relevant showing, watched_weight for one watched and not skipped, 0 for the rest and for what was rejected.

    A row without a time is of an imported history, which holds watches alone."""
    part = np.zeros(len(flags), np.float32)
    for row in range(len(flags)):
        if flags[row] & _REJECTED:
            continue
        if flags[row] & _RELEVANT:
            part[row] = 1.0
        elif (flags[row] & _WATCHED or time_us[row] == 0) and not flags[row] & _SKIPPED:
            part[row] = watched_weight
    return part


@compiled
def decayed(part: Float32, time_us: Int64, now_us: int, decay_per_d: float) -> Float32:
    """float32[h]: part * exp(-decay_per_d * age in days). A row without a time (0) is as old as the oldest that has one."""
    oldest_us = now_us
    for row in range(len(time_us)):
        if 0 < time_us[row] < oldest_us:
            oldest_us = time_us[row]
    weight = np.empty(len(part), np.float32)
    for row in range(len(part)):
        then_us = time_us[row] if time_us[row] > 0 else oldest_us
        age_d = max(0, now_us - then_us) / DAY_US
        weight[row] = part[row] * np.exp(-decay_per_d * age_d)
    return weight


@compiled
def medoids_of(points: Float32, cluster: Int64, n_clusters: int) -> Int64:
    """int64[c]: of each cluster the member with the least sum of squared distances to the members; the first of equals.

    That sum is n |x - mean|^2 and a part that is the same for all: the medoid is the member nearest to the mean."""
    mean = np.zeros((n_clusters, points.shape[1]), np.float32)
    size = np.zeros(n_clusters, np.float32)
    for i in range(len(points)):
        _add(mean[cluster[i]], points[i])
        size[cluster[i]] += 1
    medoid = np.full(n_clusters, -1, np.int64)
    least = np.full(n_clusters, np.inf, np.float32)
    for c in range(n_clusters):
        mean[c] /= size[c]
    for i in range(len(points)):
        c = cluster[i]
        apart = _squared_distance(points[i], mean[c])
        if medoid[c] < 0 or apart < least[c]:
            medoid[c], least[c] = i, apart
    return medoid


@compiled
def importance_of(weight: Float32, cluster: Int64, n_clusters: int) -> Float32:
    """float32[c]: the sum of the members' weights."""
    total = np.zeros(n_clusters, np.float32)
    for i in range(len(weight)):
        total[cluster[i]] += weight[i]
    return total


@compiled
def _add(total: Float32, vector: Float32) -> None:
    for d in range(len(total)):
        total[d] += vector[d]


@compiled_sums
def _squared_distance(left: Float32, right: Float32) -> np.float32:
    total = np.float32(0)
    for d in range(len(left)):
        apart = left[d] - right[d]
        total += apart * apart
    return total
