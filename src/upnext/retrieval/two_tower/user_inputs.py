"""What the user tower reads, laid out once for training and serving: no torch here.

One row per viewer (Covington 2016): the mean of the input vectors of the latest showings, of the relevant, the liked and the very
latest ones apart; how many there were of each; the mean of the searched tokens' vectors (a bag: order is hidden); the context row of
features.context; the example's age, which is 0 when serving. Everything is strictly before the label or the request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.types import NO_ITEMS, Array, Bool, Flag, Float32, Int64
from upnext.retrieval.two_tower.config import TwoTowerConfig

N_AGE = 3


@dataclass(frozen=True, slots=True)
class Group:
    """One pooled part of a history: the latest `n_last` rows that have one of `flags` (0: any row)."""

    name: str
    flags: int
    n_last: int


def groups_of(config: TwoTowerConfig) -> tuple[Group, ...]:
    """The groups in the order of the user row; a part of no rows is left out."""
    groups = (
        Group("watched", 0, config.n_watched),
        Group("relevant", Flag.RELEVANT, config.n_relevant),
        Group("liked", Flag.LIKE, config.n_liked),
        Group("recent", 0, config.n_recent),
    )
    return tuple(group for group in groups if group.n_last)


def windows(
    start: Int64, end: Int64, n_last: int, members_before: Int64 | None = None
) -> tuple[Int64, Bool]:
    """(place int64[b, n_last], is_there bool[b, n_last]): the latest n_last of rows start..end of each example, newest first.

    With members_before int64[m + 1] (how many members of a group lie before each row) places count the group's members."""
    if members_before is not None:
        start, end = members_before[start], members_before[end]
    place: Int64 = end[:, None] - 1 - np.arange(n_last)[None, :]
    is_there = place >= start[:, None]
    return np.where(is_there, place, 0), is_there


def age_columns(age_d: Float32, is_history: Bool) -> Float32:
    """float32[b, 3] of the age of examples in days (METHODS B1: t_max - t_example); zeros at serving."""
    age = np.maximum(age_d, 0)
    return np.stack([np.log1p(age) / 3, 1 - np.exp(-age), is_history], 1).astype(np.float32)


def row_size(config: TwoTowerConfig, n_context: int) -> int:
    """Columns of the user row."""
    n_groups = len(groups_of(config))
    return n_groups * (config.input_size + 1) + config.input_size + 1 + n_context + N_AGE


def token_rows(tokens: Int64, n_buckets: int, n_last: int | None = None) -> Int64:
    """The table rows of searched tokens, sorted so that their order can't show."""
    if n_last is not None:
        tokens = tokens[-n_last:]
    if not len(tokens):
        return NO_ITEMS
    return np.sort(tokens.astype(np.uint64) % np.uint64(n_buckets)).astype(np.int64)


def mean_of(table: Array, rows: Int64) -> Float32:
    """float32[d]: the mean of some rows of a table; zeros for none."""
    if not len(rows):
        return np.zeros(table.shape[1], np.float32)
    mean: Float32 = table.take(rows, axis=0).astype(np.float32, copy=False).mean(0)
    return mean


def serving_row(
    pooled: Float32, counts: Float32, searched: Float32, n_searched: int, context: Float32
) -> Float32:
    """float32[1, f]: the row of one viewer now, its age columns 0. pooled float32[g, d_in] and counts float32[g] of the groups."""
    parts: list[Array] = [
        pooled.ravel(),
        np.log1p(counts) / 4,
        searched,
        np.log1p(np.array([n_searched], np.float32)) / 4,
        context,
        np.zeros(N_AGE, np.float32),
    ]
    return np.concatenate(parts)[None]
