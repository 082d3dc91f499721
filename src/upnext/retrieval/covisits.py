"""Which videos are shown to the same viewers: cosine neighbours of the viewer x video matrix, a block of videos at a time.

Memory is bounded by the block: the co-visits of a block are the concatenated rows of its viewers, summed by (video, other video) key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Flag, Float32, Float64, Int64
from upnext.features.showings import Showings
from upnext.retrieval.config import ItemToItemConfig

PAIRS_PER_BLOCK = 4_000_000


@dataclass(frozen=True)
class Neighbours:
    """K most similar videos of each, by item_id; -1 and 0 where fewer exist."""

    item_id: Array  # int32[n_items, K], most similar first
    score: Array  # float32[n_items, K] in (0, 1]

    def save(self, folder: Path) -> None:
        """Writes neighbours.npy and neighbour_scores.npy."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "neighbours.npy", self.item_id)
        np.save(folder / "neighbour_scores.npy", self.score)

    @staticmethod
    def load(folder: Path) -> Neighbours:
        """The neighbours saved there, memory-mapped."""
        ids = np.load(folder / "neighbours.npy", mmap_mode="r")
        scores = np.load(folder / "neighbour_scores.npy", mmap_mode="r")
        return Neighbours(np.asarray(ids), np.asarray(scores))  # plain views index faster


def neighbours_of(
    showings: Showings,
    n_items: int,
    config: ItemToItemConfig | None = None,
    progress: Progress | None = None,
) -> Neighbours:
    """The cosine neighbours of all videos; a video that nobody was shown has none."""
    config, progress = config or ItemToItemConfig(), progress or NoProgress()
    by_user, by_item = _matrix(showings, n_items, config)
    norm = np.sqrt(np.bincount(by_user.column, by_user.value**2, n_items))
    ids = np.full((n_items, config.n_neighbours), -1, np.int32)
    scores = np.zeros((n_items, config.n_neighbours), np.float32)
    progress.start("item-to-item neighbours", n_items, "videos")
    for first, last in _blocks(by_user, by_item, n_items):
        _fill(ids, scores, first, last, by_user, by_item, norm)
        progress.advance(last - first)
    progress.done()
    return Neighbours(ids, scores)


@dataclass(frozen=True)
class _Rows:
    """A sparse matrix by rows."""

    start: Int64  # [rows + 1]
    column: Int64
    value: Float64

    def length(self, row: Int64) -> Int64:
        return self.start[row + 1] - self.start[row]

    def places(self, row: Int64) -> Int64:
        """The places of several rows, one after the other."""
        length = self.length(row)
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return np.asarray(np.repeat(self.start[row], length) + offset, np.int64)


def _matrix(showings: Showings, n_items: int, config: ItemToItemConfig) -> tuple[_Rows, _Rows]:
    """(viewers by videos, videos by viewers): each viewer's latest rows, a repeated video once with its largest weight."""
    last = showings.starts()[showings.user + 1]
    recent = last - np.arange(len(showings)) <= config.max_per_user
    user, item = showings.user[recent], showings.item_id[recent]
    is_relevant = (showings.flags[recent] & np.uint16(Flag.RELEVANT)) != 0
    weight = 1.0 + config.relevant_bonus * is_relevant
    order = np.lexsort((-weight, item, user))
    user, item, weight = user[order], item[order], weight[order]
    is_new = np.ones(len(user), bool)
    is_new[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    user, item, weight = user[is_new], item[is_new], weight[is_new]
    users = _Rows(np.searchsorted(user, np.arange(len(showings.user_ids) + 1)), item, weight)
    order = np.argsort(item, kind="stable")
    items = _Rows(np.searchsorted(item[order], np.arange(n_items + 1)), user[order], weight[order])
    return users, items


def _blocks(by_user: _Rows, by_item: _Rows, n_items: int) -> list[tuple[int, int]]:
    """Ranges of videos with about PAIRS_PER_BLOCK co-visits each."""
    pairs = np.zeros(n_items + 1, np.int64)
    per_row = by_user.length(by_item.column)
    total = np.concatenate([[0], np.cumsum(per_row)])
    pairs[:] = total[by_item.start]
    blocks, first = [], 0
    while first < n_items:
        last = int(np.searchsorted(pairs, pairs[first] + PAIRS_PER_BLOCK, side="right")) - 1
        last = min(max(last, first + 1), n_items)
        blocks.append((first, last))
        first = last
    return blocks


def _fill(
    ids: Array, scores: Array, first: int, last: int, by_user: _Rows, by_item: _Rows, norm: Float64
) -> None:
    """The neighbours of videos first..last-1."""
    n_items, k = ids.shape
    span = slice(by_item.start[first], by_item.start[last])
    viewers = by_item.column[span]
    video = np.repeat(np.arange(first, last), np.diff(by_item.start[first : last + 1]))
    places, length = by_user.places(viewers), by_user.length(viewers)
    other = by_user.column[places]
    weight = np.repeat(by_item.value[span], length) * by_user.value[places]
    key = np.repeat(video - first, length) * n_items + other
    if (last - first) * n_items <= 2 * PAIRS_PER_BLOCK:
        together = np.bincount(key, weight, (last - first) * n_items)
        pair = np.flatnonzero(together)
        together = together[pair]
    else:
        pair, inverse = np.unique(key, return_inverse=True)
        together = np.bincount(inverse, weight)
    row, other = np.divmod(pair, n_items)
    cosine = together / (norm[first + row] * norm[other])
    keep = other != first + row
    row, other, cosine = row[keep], other[keep], cosine[keep]
    order = np.lexsort((other, -cosine, row))
    row, other, cosine = row[order], other[order], cosine[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    keep = place < k
    ids[first + row[keep], place[keep]] = other[keep]
    scores[first + row[keep], place[keep]] = cosine[keep]


def seed_weights(n: int, is_relevant: Array, config: ItemToItemConfig) -> Float32:
    """float32[n] of the latest n showings, oldest first: half after seed_half_life more recent ones."""
    back = np.arange(n - 1, -1, -1)
    weight = np.exp2(-back / config.seed_half_life)
    weight = weight * (1 + config.relevant_seed_bonus * is_relevant)
    return weight.astype(np.float32)
