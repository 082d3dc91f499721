"""What the filters read of the catalogue: columns by item_id (CatalogView has them)."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.types import Array, Bool, Float32, Int64


class CatalogColumns(Protocol):
    """Columns of length n_items, and the codes of words."""

    @property
    def n_items(self) -> int: ...
    @property
    def creator(self) -> Int64: ...
    @property
    def category(self) -> npt.NDArray[Any]: ...
    @property
    def tags(self) -> npt.NDArray[Any]: ...
    @property
    def min_age(self) -> npt.NDArray[Any]: ...
    @property
    def status(self) -> npt.NDArray[Any]: ...
    def moderation(self, label: str) -> Float32: ...
    def allowed_in(self, country: str | None) -> Bool: ...
    def code(self, kind: str, value: str | None) -> int: ...
    def item_ids(self, video_ids: list[str]) -> Int64: ...
    def n_codes(self, kind: str) -> int: ...
    def values_from(self, kind: str, first: int) -> list[str]: ...


def in_limits(item_id: Int64, column: Array, least: float, most: float) -> Bool:
    """bool[n]: whether a column by item_id lies between two limits; False for an id that the catalogue does not have (yet)."""
    return _in_limits(item_id, column, float(least), float(most))


@compiled
def _in_limits(item_id: Int64, column: Array, least: float, most: float) -> Bool:
    keep = np.empty(len(item_id), np.bool_)
    for i in range(len(item_id)):
        known = 0 <= item_id[i] < len(column)
        keep[i] = known and least <= column[item_id[i]] <= most
    return keep
