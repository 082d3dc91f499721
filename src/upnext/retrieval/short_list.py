"""Precomputed short lists: what the popularity-like sources walk instead of sorting a catalogue per request.

A list holds the best few thousand videos by some value, made off the request path at most every few seconds. A request walks it from
the top past what the viewer has seen or may not see.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.id_set import holds
from upnext.core.types import Array, Bool, Candidates, Float32, Float64, Int64, Query
from upnext.features.country_counts import CountryColumns
from upnext.retrieval.selection import (
    best_of_places,
    best_rows,
    best_rows_by_group,
    grades,
    per_grade,
    places_of,
)

_N_KEPT: Final = 64  # masks that a list remembers itself under

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


class Countries(Protocol):
    """Decayed relevance by video within a country (features.country_counts.CountryCounts)."""

    def columns(self, country: str, time_us: int) -> CountryColumns: ...


class Counts(Protocol):
    """Decayed counters by video (features.counters.CounterTable)."""

    @property
    def countries(self) -> Countries: ...

    def column(self, name: Any, time_us: int) -> Float64: ...


@dataclass(frozen=True, slots=True)
class ShortList:
    """Videos, best first, with their values."""

    item_id: Int64  # [m]
    score: Float32  # [m]
    _within: dict[int, tuple[weakref.ref[Bool], ShortList]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.item_id)

    def within(self, allowed: Bool | None) -> ShortList:
        """What a mask bool[n_items] by item_id lets pass (an id beyond its end does not); None: all.

        Kept for a mask that nobody can change any more: a few thousand flags of a catalogue are as many misses of the cache."""
        if allowed is None or not len(self):
            return self
        known = self._within.get(id(allowed))
        if known is not None and known[0]() is allowed:
            return known[1]
        rows = np.flatnonzero(self.item_id < len(allowed))
        rows = rows[allowed[self.item_id[rows]]]
        found = ShortList(self.item_id[rows], self.score[rows])
        if allowed.flags.owndata and not allowed.flags.writeable:
            if len(self._within) >= _N_KEPT:
                self._within.clear()
            self._within[id(allowed)] = (weakref.ref(allowed), found)
        return found


EMPTY: Final = ShortList(np.zeros(0, np.int64), np.zeros(0, np.float32))


def counted(counts: Counts, name: str, time_us: int, n_items: int) -> Float64:
    """float64[n_items]: a counter's column; zeros for videos that have no counts yet."""
    column = counts.column(name, time_us)
    if len(column) < n_items:
        column = np.pad(column, (0, n_items - len(column)))
    return column[:n_items]


def top(values: Float64, size: int) -> ShortList:
    """The `size` videos of largest value above 0, ties by id."""
    ids = best_rows(values, size)
    return ShortList(ids, values[ids].astype(np.float32))


def by_group(values: Float64, group: Array, size: int) -> dict[int, ShortList]:
    """{code: its short list} of every code >= 0 in group int[n], aligned with values float64[n]."""
    n_groups = int(group.max(initial=-1)) + 1
    rows, n = best_rows_by_group(values, group, n_groups, min(size, len(values)))
    lists = {code: rows[code, : n[code]] for code in np.flatnonzero(n).tolist()}
    return {code: ShortList(ids, values[ids].astype(np.float32)) for code, ids in lists.items()}


def mask_of(allowed: Bool | None, n_items: int) -> Bool:
    """bool[n_items] for compiled loops: the mask, or every video where there is none."""
    return np.ones(n_items, np.bool_) if allowed is None else allowed


@compiled
def is_open(item_id: int, left_out: Int64, allowed: Bool) -> bool:
    """Whether a video is allowed (one beyond the mask's end is not) and not in the table of an IdSet; for compiled loops."""
    return item_id < len(allowed) and allowed[item_id] and not holds(left_out, item_id)


@compiled
def best_open(
    item_id: Array, values: Float64, left_out: Int64, allowed: Bool, k: int
) -> tuple[Int64, Float64]:
    """(ids int64[m], values float64[m]), m <= k, best first, ties by id: the largest of n values of allowed videos not left out.

    Only a video that is among the best by its value is looked up; where too few of those are open, the next ones are."""
    n, size = len(item_id), min(k, len(item_id))
    grade = grades(values)
    count = per_grade(grade)
    open_places = np.empty(n, np.int64)
    n_open, n_reached, last = 0, 0, -1
    while n_open < size and n_reached < n:
        first, n_wanted = last + 1, min(n, n_reached + size - n_open)
        while n_reached < n_wanted:
            last += 1
            n_reached += count[last]
        for place in places_of(grade, first, last):
            if is_open(item_id[place], left_out, allowed):
                open_places[n_open] = place
                n_open += 1
    return best_of_places(open_places[:n_open], item_id, values, grade, size)


@compiled
def first_unseen(item_id: Int64, left_out: Int64, k: int) -> Int64:
    """Positions int64[m], m <= k, of the first k of ids int64[n] that are not left out; the walk ends there."""
    rows = np.empty(min(k, len(item_id)), np.int64)
    n_found = 0
    for i in range(len(item_id)):
        if n_found == k:
            break
        if not holds(left_out, item_id[i]):
            rows[n_found] = i
            n_found += 1
    return rows[:n_found]


def walk(
    lists: Sequence[ShortList], query: Query, k: int, allowed: Bool | None, name: str
) -> Candidates:
    """At most k unseen, allowed videos: the first list's, then the next's where that was short.

    A later list's scores are lowered to the one before, so that the order of the scores is the order of the lists."""
    ids, score = EMPTY.item_id, EMPTY.score
    for part in lists:
        if len(ids) < k and len(part):
            part = part.within(allowed)
            rows = first_unseen(part.item_id, query.left_out.table, k)
            ids = np.concatenate([ids, part.item_id.take(rows)])
            score = np.concatenate([score, part.score.take(rows)])
    found = Candidates.of_source(name, ids, np.minimum.accumulate(score))
    return found if len(found) <= k else found.take(np.arange(k))


def language_of(query: Query, videos: Videos) -> int:
    """The code of the viewer's language: the request's, else the profile's; -1 unknown."""
    language = query.request.language or query.user.profile.language
    return videos.code("language", language) if language else -1


def country_of(query: Query) -> str:
    """The viewer's country in two capitals: the request's, else the profile's; "" unknown."""
    return (query.request.country or query.user.profile.country or "").upper()


def in_language(ids: Int64, language: int, videos: Videos, n_items: int) -> Bool:
    """bool[m]: which of ids int64[m] are below n_items and in a language; -1: in any."""
    known = ids < n_items
    if language >= 0:
        known[known] = videos.language[ids[known]] == language
    return known


def list_of(lists: Mapping[int, ShortList], code: int) -> ShortList:
    """The list of a code; an empty one for an unknown code."""
    return lists.get(code, EMPTY)
