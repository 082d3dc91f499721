"""Precomputed short lists: what the popularity-like sources walk instead of sorting a catalogue per request.

A list holds the best few thousand videos by some value, made off the request path at most every few seconds. A request walks it from
the top past what the viewer has seen or may not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.types import NO_ITEMS, Array, Bool, Candidates, Float32, Float64, Int64, Query

# bool[n_items] by item_id of what this viewer may be shown (static safety filters); None: all
Allowed = Callable[[Query], Bool | None]


def all_allowed(query: Query) -> Bool | None:
    """No restriction."""
    del query
    return None


class Videos(Protocol):
    """What sources read of the catalogue (catalog.CatalogView): columns by item_id."""

    @property
    def n_items(self) -> int: ...
    @property
    def language(self) -> npt.NDArray[np.int32]: ...
    @property
    def uploaded_us(self) -> Int64: ...
    @property
    def creator(self) -> Int64: ...
    @property
    def latitude(self) -> Float32: ...
    @property
    def longitude(self) -> Float32: ...

    def code(self, kind: str, value: str | None) -> int: ...
    def item_id(self, video_id: str) -> int: ...


class Counts(Protocol):
    """Decayed counters by video (features.counters.CounterTable)."""

    def column(self, name: Any, time_us: int) -> Float64: ...


@dataclass(frozen=True, slots=True)
class ShortList:
    """Videos, best first, with their values."""

    item_id: Int64  # [m]
    score: Float32  # [m]


EMPTY: Final = ShortList(NO_ITEMS, np.zeros(0, np.float32))


def counted(counts: Counts, name: str, time_us: int, n_items: int) -> Float64:
    """float64[n_items]: a counter's column; zeros for videos that have no counts yet."""
    column = counts.column(name, time_us)
    values = np.zeros(n_items)
    n = min(n_items, len(column))
    values[:n] = column[:n]
    return values


def top(values: Array, size: int, rows: Int64 | None = None) -> ShortList:
    """The `size` videos of largest value above 0, ties by id; rows int64[m] restricts to some ids."""
    part = values if rows is None else values[rows]
    n = min(size, len(part))
    if n == 0:
        return EMPTY
    best = np.argpartition(-part, n - 1)[:n]
    ids = best if rows is None else rows[best]
    ids = ids[values[ids] > 0]
    ids = ids[np.lexsort((ids, -values[ids]))]
    return ShortList(ids.astype(np.int64), values[ids].astype(np.float32))


def largest(values: Array, n: int) -> Int64:
    """Positions int64[m], ascending, of the n largest of float[p] values, and of all that equal the least of these; all where p <= n."""
    if len(values) <= n:
        return np.arange(len(values))
    least = np.partition(values, len(values) - n)[len(values) - n]
    return np.flatnonzero(values >= least)


def best_first(item_id: Int64, values: Array) -> Int64:
    """Positions int64[n] by falling value, ties by id."""
    order = np.argsort(-values, kind="stable")
    ranked = values.take(order)
    if (ranked[1:] == ranked[:-1]).any():  # rare; two keys cost three times one
        order = np.lexsort((item_id, -values))
    return order


def by_group(values: Array, group: Array, size: int) -> dict[int, ShortList]:
    """{code: its short list} of every code >= 0 in group int[n], aligned with values float64[n]."""
    ids = np.flatnonzero((values > 0) & (group >= 0))
    ids = ids[np.argsort(group[ids], kind="stable")]
    codes, first = np.unique(group[ids], return_index=True)
    parts = np.split(ids, first[1:]) if len(codes) else []
    return {int(code): top(values, size, part) for code, part in zip(codes, parts)}


def unseen(query: Query, item_id: Int64, allowed: Bool | None) -> Bool:
    """bool[n]: allowed, not seen, not served in this session."""
    keep = ~query.left_out.has(item_id)
    if allowed is None or not len(item_id):
        return keep
    if int(item_id.max()) < len(allowed):
        keep &= allowed.take(item_id)
        return keep
    inside = item_id < len(allowed)
    keep &= inside
    keep[inside] &= allowed[item_id[inside]]
    return keep


def walk(
    lists: Sequence[ShortList], query: Query, k: int, allowed: Bool | None, name: str
) -> Candidates:
    """At most k unseen, allowed videos: the first list's, then the next's where that was short.

    A later list's scores are lowered to the one before, so that the order of the scores is the order of the lists."""
    ids, scores, n_found = [NO_ITEMS], [np.zeros(0, np.float32)], 0
    for part in lists:
        for chunk in _chunks(len(part.item_id), 2 * k + 64):
            keep = np.flatnonzero(unseen(query, part.item_id[chunk], allowed))
            ids.append(part.item_id[chunk].take(keep))
            scores.append(part.score[chunk].take(keep))
            n_found += len(keep)
            if n_found >= k:
                break
        if n_found >= k and part is not lists[-1]:
            break
    score = np.minimum.accumulate(np.concatenate(scores))
    found = Candidates.of_source(name, np.concatenate(ids), score)
    return found if len(found) <= k else found.take(np.arange(k))


def language_of(query: Query, videos: Videos) -> int:
    """The code of the viewer's language: the request's, else the profile's; -1 unknown."""
    language = query.request.language or query.user.profile.language
    return videos.code("language", language) if language else -1


def list_of(lists: Mapping[int, ShortList], code: int) -> ShortList:
    """The list of a code; an empty one for an unknown code."""
    return lists.get(code, EMPTY)


def _chunks(n: int, first: int) -> Sequence[slice]:
    if n <= first:
        return [slice(0, n)] if n else []
    return [slice(0, first), slice(first, n)]
