"""Ward's clustering, compiled: merges of least growth in the sum of squared distances, stopped at a merge cost.

A merge of clusters a and b costs 2 |a||b| / (|a| + |b|) * |mean_a - mean_b|^2: twice what it adds to the sum of squared distances to
means, and the squared distance for two single points (the square of the height in scipy's linkage). Costs of what comes of a merge
follow from the old ones alone (Lance and Williams 1967).

A chain of nearest neighbours (Benzecri 1982; Juan 1982) finds the same merges as looking for the cheapest anew each time, in O(h^2): from
any cluster step to its nearest until two are each other's nearest, and merge them. Ward's cost is reducible (a merge never brings two
clusters closer than the nearer of its parts was), which makes the order of merging irrelevant; and a cluster whose nearest costs more than the
stop can never take part in a cheaper merge, so it is set aside at once.
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Float32, Int64

_NONE = -1
_INFINITE = np.float32(np.inf).view(np.int32)


@compiled
def ward_merges(points: Float32, stop: float) -> tuple[Int64, Int64, Float32]:
    """(kept int64[m], gone int64[m], cost float32[m]): the merges of points float32[h, d] that cost at most `stop`, as they were found.

    A cluster goes by the number of its first point; a merge leaves `kept` for both. By cost they are the cheapest-first merges."""
    n = len(points)
    cost = squared_distances(points)  # infinite for what can't merge: itself, what is gone or aside
    size = np.ones(n, np.float32)
    is_done = np.zeros(n, np.bool_)
    kept, gone = np.empty(n, np.int64), np.empty(n, np.int64)
    paid = np.empty(n, np.float32)
    chain = np.empty(n, np.int64)
    n_chain = n_merges = first = 0
    while True:
        if n_chain == 0:
            while first < n and is_done[first]:
                first += 1
            if first == n:
                return kept[:n_merges], gone[:n_merges], paid[:n_merges]
            chain[0] = first
            n_chain = 1
        tip = chain[n_chain - 1]
        before = chain[n_chain - 2] if n_chain > 1 else _NONE
        near, least = _nearest(cost[tip], before)
        if near == _NONE or least > stop:  # only where the chain begins: costs fall along it
            is_done[tip] = True
            cost[:, tip] = np.inf
            n_chain = 0
        elif near == before:
            low, high = min(tip, near), max(tip, near)
            kept[n_merges], gone[n_merges], paid[n_merges] = low, high, least
            n_merges += 1
            _join(cost, size, low, high)
            is_done[high] = True
            n_chain -= 2
        else:
            chain[n_chain] = near
            n_chain += 1


@compiled
def clusters_of(n: int, kept: Int64, gone: Int64) -> Int64:
    """int64[n]: the cluster of each of n points after the merges, numbered from 0 by their first point."""
    parent = np.arange(n)
    for m in range(len(kept)):
        parent[gone[m]] = kept[m]  # kept < gone always, and nothing happens to what is gone
    number = np.empty(n, np.int64)
    n_clusters = 0
    for i in range(n):
        if parent[i] == i:
            number[i] = n_clusters
            n_clusters += 1
        else:
            number[i] = number[parent[i]]
    return number


@compiled_sums
def squared_distances(points: Float32) -> Float32:
    """float32[h, h]: the squared Euclidean distance of every two points of float32[h, d]; infinite on the diagonal."""
    n = len(points)
    distance = np.empty((n, n), np.float32)
    for i in range(n):
        distance[i, i] = np.inf
        for j in range(i):
            total = np.float32(0)
            for d in range(points.shape[1]):
                apart = points[i, d] - points[j, d]
                total += apart * apart
            distance[i, j] = total
            distance[j, i] = total
    return distance


@compiled
def _nearest(cost: Float32, before: int) -> tuple[int, np.float32]:
    """(cluster, cost) of the cheapest merge in a row float32[h]; among equals `before`, else the first; -1 for none.

    Costs are never negative, and such numbers are in the order of their bits: whole numbers are compared, many at once."""
    bits = cost.view(np.int32)
    least = _INFINITE
    for other in range(len(bits)):
        least = min(least, bits[other])
    if least == _INFINITE:
        return _NONE, np.float32(np.inf)
    if before != _NONE and bits[before] == least:
        return before, cost[before]
    near = 0
    while bits[near] != least:
        near += 1
    return near, cost[near]


@compiled
def _join(cost: Float32, size: Float32, low: int, high: int) -> None:
    """Writes the costs of the union of two clusters, which goes by `low`; `high` is gone.

    No cost falls below the lesser of the two it comes from, as rounding alone could make it: a chain then never meets itself."""
    together, both = cost[low, high], size[low] + size[high]
    cost[low, high] = np.inf
    for other in range(len(cost)):
        joined = (size[low] + size[other]) * cost[low, other]
        joined += (size[high] + size[other]) * cost[high, other]
        joined = (joined - size[other] * together) / (both + size[other])
        cost[low, other] = max(joined, min(cost[low, other], cost[high, other]))
    for other in range(len(cost)):
        cost[other, low] = cost[low, other]
        cost[other, high] = np.inf
    size[low] = both
