"""What all blocks of the plan read: one request with its candidates, and the part of the history that the catalogue knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.types import (
    Array,
    Bool,
    Candidates,
    Flag,
    Float32,
    History,
    Int64,
    Query,
    UInt16,
)

_RELEVANT: Final = np.uint16(Flag.RELEVANT)
CATEGORY, CREATOR, LANGUAGE = range(3)  # rows of Reading.words


class ItemColumns(Protocol):
    """The catalogue's columns that features use (CatalogView has them), each of length n_items."""

    @property
    def n_items(self) -> int: ...
    @property
    def creator(self) -> Int64: ...
    @property
    def uploaded_us(self) -> Int64: ...
    @property
    def duration_s(self) -> Float32: ...
    @property
    def category(self) -> npt.NDArray[Any]: ...
    @property
    def language(self) -> npt.NDArray[Any]: ...
    @property
    def tags(self) -> npt.NDArray[Any]: ...
    @property
    def min_age(self) -> npt.NDArray[Any]: ...
    @property
    def is_premium(self) -> Bool: ...
    @property
    def latitude(self) -> Float32: ...
    @property
    def longitude(self) -> Float32: ...
    def code(self, kind: str, value: str | None) -> int: ...
    def item_id(self, video_id: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One call of FeaturePlan.read."""

    query: Query
    candidates: Candidates
    history: History  # the rows whose video the catalogue has
    relevant: Bool  # [h]
    base_rate: float  # the viewer's smoothed rate of relevance
    current: int  # item_id of the video being watched, -1: none
    words: Int64  # [3, n] codes of the candidates' category, creator and language, -1: missing

    @staticmethod
    def of(query: Query, candidates: Candidates, view: ItemColumns) -> Reading:
        """The reading of n candidates. Raises IndexError for one that the catalogue lacks."""
        history, n_items = query.user.history, view.n_items
        relevant, n_relevant, n_known = _past(history.item_id, history.flags, n_items)
        if n_known < len(history):
            history = history.where(history.item_id < n_items)
            relevant, n_relevant, _ = _past(history.item_id, history.flags, n_items)
        base_rate = (n_relevant + 1.0) / (len(history) + 4.0)
        watched = query.request.current_video_id
        current = view.item_id(watched) if watched else -1
        words = words_of(candidates.item_id, view)
        return Reading(query, candidates, history, relevant, base_rate, current, words)

    @property
    def item_id(self) -> Int64:
        """int64[n]: the candidates."""
        return self.candidates.item_id

    @property
    def time_us(self) -> int:
        """When the request was made."""
        return self.query.request.time_us


class Block(Protocol):
    """Some item columns that are filled together."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes columns `at` to `at + len(names)` of items float32[n, f], which hold zeros; n > 0."""
        ...


def words_of(item_id: Int64, view: ItemColumns) -> Int64:
    """int64[3, m]: codes of the category, creator and language of m videos. Raises IndexError for one that the catalogue lacks."""
    return _gathered(item_id, view.category, view.creator, view.language)


@compiled
def taken(column: Array, item_id: Int64) -> Array:
    """The column's values of m videos, each in the catalogue: a loop of nothing else, so that its cache misses overlap."""
    values = np.empty(len(item_id), column.dtype)
    for i in range(len(item_id)):
        values[i] = column[item_id[i]]
    return values


@compiled
def taken_rows(column: Array, item_id: Int64) -> Array:
    """The same of a column with several values a video, [m, values]."""
    rows = np.empty((len(item_id), column.shape[1]), column.dtype)
    for i in range(len(item_id)):
        row, own = rows[i], column[item_id[i]]
        for j in range(len(row)):
            row[j] = own[j]
    return rows


@compiled
def _gathered(item_id: Int64, category: Array, creator: Array, language: Array) -> Int64:
    for item in item_id:
        if not 0 <= item < len(category):
            raise IndexError("a video of the request is not in the catalogue")
    words = np.empty((3, len(item_id)), np.int64)
    words[CATEGORY] = taken(category, item_id)
    words[CREATOR] = taken(creator, item_id)
    words[LANGUAGE] = taken(language, item_id)
    return words


@compiled
def _past(item_id: Int64, flags: UInt16, n_items: int) -> tuple[Bool, int, int]:
    """(bool[h], relevant rows, known rows): which of h showings were relevant; known are those whose video is one of n_items."""
    relevant = np.empty(len(item_id), np.bool_)
    n_relevant = n_known = 0
    for i in range(len(item_id)):
        relevant[i] = (flags[i] & _RELEVANT) != 0
        n_relevant += relevant[i]
        n_known += item_id[i] < n_items
    return relevant, n_relevant, n_known
