"""What all blocks of the plan read: one request with its candidates, and the part of the history that the catalogue knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.types import Array, Bool, Candidates, Flag, Float32, History, Int64, Query

_RELEVANT: Final = np.uint16(Flag.RELEVANT)


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
    category: Array  # [n] codes of the candidates, -1: missing
    creator: Int64  # [n]
    language: Array  # [n]

    @staticmethod
    def of(query: Query, candidates: Candidates, view: ItemColumns) -> Reading:
        """The reading of n candidates, all of them in the catalogue."""
        history, item_id = query.user.history, candidates.item_id
        if int(history.item_id.max(initial=-1)) >= view.n_items:
            history = history.where(history.item_id < view.n_items)
        relevant = (history.flags & _RELEVANT) != 0
        base_rate = (float(np.count_nonzero(relevant)) + 1.0) / (len(history) + 4.0)
        watched = query.request.current_video_id
        current = view.item_id(watched) if watched else -1
        return Reading(
            query, candidates, history, relevant, base_rate, current,
            view.category.take(item_id), view.creator.take(item_id), view.language.take(item_id),
        )  # fmt: skip

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

    def fill(self, out: Float32, reading: Reading) -> None:
        """Writes float32[n, len(names)]; `out` holds zeros."""
        ...
