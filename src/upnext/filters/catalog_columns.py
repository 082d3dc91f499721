"""What the filters read of the catalogue: columns by item_id (CatalogView has them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.types import Bool, Float32, Int64


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


Rows = Int64 | slice  # item_ids, or all of them


def in_catalog(item_id: Int64, view: CatalogColumns, passes: Callable[[Rows], Bool]) -> Bool:
    """bool[n]: what `passes` says of n ids; False for an id that the catalogue does not have (yet)."""
    n_items = view.n_items
    if not len(item_id) or (item_id.min() >= 0 and item_id.max() < n_items):
        return passes(item_id)
    known = (item_id >= 0) & (item_id < n_items)
    keep = np.zeros(len(item_id), np.bool_)
    keep[known] = passes(item_id[known])
    return keep
