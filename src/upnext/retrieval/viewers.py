"""A sample of viewers with what each watched lately: what `user_knn` finds similar viewers in.

Two sparse tables of the same rows. By viewer: the latest different videos, with what each is worth as a proposal. By video: its latest
viewers, with what one more video in common adds to the cosine, idf / |viewer|. A request reads short runs of both wherever they lie, so an id and its
number stand side by side: a run is one place in memory.
A viewer is a set of videos with the weights idf = ln(1 + viewers / viewers of the video): a video that everybody saw says little.
Memory is bounded by `max_viewers * n_rows`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.core.types import Array, Flag, Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.config import UserKnnConfig

ROW: Final = np.dtype([("item_id", np.int32), ("worth", np.float32)])
PLACE: Final = np.dtype([("viewer", np.int32), ("part", np.float32)])


class Viewers(NamedTuple):
    """v viewers with r rows in all, and i videos with at most as many."""

    start: Int64  # [v + 1] rows of viewer j: start[j] to start[j + 1]
    rows: Array  # ROW[r] different videos of a viewer, latest first, and what each counts as a proposal
    item_start: Int64  # [i + 1] places of each video
    places: Array  # PLACE[p] who watched it, latest first, and idf / |viewer|
    idf: Float32  # [i]

    @property
    def n_viewers(self) -> int:
        """v."""
        return len(self.start) - 1

    def save(self, folder: Path) -> None:
        """Writes one npy for each array."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self._asdict().items():
            np.save(folder / f"{name}.npy", array)

    @staticmethod
    def load(folder: Path) -> Viewers:
        """The viewers saved there, memory-mapped.

        Raises InvalidInput where an earlier version of UpNext saved them."""
        if not (folder / "rows.npy").exists():
            raise InvalidInput(
                f"similar viewers {folder}: expected rows.npy, got a release that an earlier version "
                "of UpNext trained: train a new release"
            )
        maps = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in Viewers._fields)
        return Viewers(*(np.asarray(one) for one in maps))  # plain views index faster


def viewers_of(showings: Showings, n_items: int, config: UserKnnConfig | None = None) -> Viewers:
    """The latest active viewers of the showings; without showings, none."""
    config = config or UserKnnConfig()
    rows = _latest_rows(showings, config)
    user, n_viewers = showings.user[rows], len(showings.user_ids)
    number = np.full(n_viewers, -1, np.int64)
    known = np.unique(user)
    number[known] = np.arange(len(known))
    user, item = number[user], showings.item_id[rows]
    start = np.searchsorted(user, np.arange(len(known) + 1)).astype(np.int64)
    count = np.bincount(item, minlength=n_items)
    idf = np.log1p(len(known) / np.maximum(count, 1))
    norm = np.sqrt(np.bincount(user, idf[item] ** 2, len(known)))
    order, item_start = _by_item(showings.time_us[rows], item, n_items, config.n_viewers)
    watched, places = np.empty(len(item), ROW), np.empty(len(order), PLACE)
    watched["item_id"], watched["worth"] = item, _worth(showings, rows, config)
    places["viewer"], places["part"] = user[order], idf[item[order]] / norm[user[order]]
    return Viewers(start, watched, item_start, places, idf.astype(np.float32))


def _latest_rows(showings: Showings, config: UserKnnConfig) -> Int64:
    """Rows by viewer, each viewer's latest first, a video once: of the `max_viewers` who came last, the latest `n_rows`."""
    last_row = showings.starts()[1:] - 1
    some = np.flatnonzero(np.diff(showings.starts()))
    came_us = showings.time_us[last_row[some]]
    latest = some[np.argsort(-came_us, kind="stable")[: config.max_viewers]]
    is_kept = np.zeros(len(showings.user_ids), bool)
    is_kept[latest] = True
    rows = np.flatnonzero(is_kept[showings.user])[::-1]  # latest first
    _, first = np.unique(
        showings.user[rows] * (int(showings.item_id.max(initial=0)) + 1) + showings.item_id[rows],
        return_index=True,
    )
    rows = rows[np.sort(first)]
    rows = rows[np.argsort(showings.user[rows], kind="stable")]
    user = showings.user[rows]
    back = np.arange(len(rows)) - np.searchsorted(user, user)
    return np.asarray(rows[back < config.n_rows], np.int64)


def _worth(showings: Showings, rows: Int64, config: UserKnnConfig) -> Float32:
    """float32[r]: 1 for a relevant video, less for one merely shown; halved for every half-life before the last showing."""
    is_relevant = (showings.flags[rows] & np.uint16(Flag.RELEVANT)) != 0
    age_d = (int(showings.time_us.max(initial=0)) - showings.time_us[rows]) / DAY_US
    worth = np.where(is_relevant, 1.0, config.shown_weight) * np.exp2(-age_d / config.half_life_d)
    return np.asarray(worth, np.float32)


def _by_item(time_us: Int64, item: Int64, n_items: int, n_viewers: int) -> tuple[Int64, Int64]:
    """(rows by video, the latest first, at most n_viewers of one; int64[i + 1] where each video's begin)."""
    order = np.lexsort((-time_us, item))
    start = np.searchsorted(item[order], np.arange(n_items + 1))
    back = np.arange(len(order)) - start[item[order]]
    order = order[back < n_viewers]
    return order, np.searchsorted(item[order], np.arange(n_items + 1)).astype(np.int64)
