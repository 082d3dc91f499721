"""The whole catalogue ranked exactly for every viewer of a model that is user vectors and item vectors: score = u . v + bias.

Nothing is sampled and nothing approximate: a sampled metric orders models wrongly (Krichene & Rendle 2020). Blocks of viewers meet tiles of
videos in one matrix product each; of a tile only what reaches a viewer's k-th best score so far is kept, so that selection costs a
comparison per score. A kept video is one uint64 whose order is the list's order: score (descending), then whether it is relevant, then its id.
Ties are thereby conservative, as in metrics.rank_by_score: among equal scores relevant videos stand last, then the lower id first.
Memory is a block times a tile, whatever the catalogue, beside the vectors and the lists. A library's exact search (FAISS IndexFlatIP)
was tried: nearly three times the processor time, and its ties are in no order.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upnext.core.errors import expected
from upnext.core.types import Float32, Int64
from upnext.evaluate.user_items import UserItems

UInt64 = npt.NDArray[np.uint64]

BLOCK = 512  # viewers
TILE = 2048  # videos; a block times a tile of scores stays in the cache
_EMPTY = np.uint64(2**64 - 1)  # behind everything
_RELEVANT = np.uint64(1 << 31)
_ID = np.uint64((1 << 31) - 1)


@dataclass(frozen=True, slots=True)
class VectorModel:
    """A model whose score of a video for a viewer is the inner product of two vectors, plus the video's bias."""

    users: Float32  # [u, d]
    items: Float32  # [n_items, d]
    bias: Float32 | None = None  # [n_items]; -inf: never listed

    def __post_init__(self) -> None:
        if self.users.ndim != 2 or self.items.ndim != 2 or len(self.items) >= 1 << 31:
            raise expected("vectors", "float32[u, d], float32[n, d]", self.items.shape)
        if self.users.shape[1] != self.items.shape[1]:
            raise expected("item vectors", f"[n_items, {self.users.shape[1]}]", self.items.shape)
        if self.bias is not None and self.bias.shape != (len(self.items),):
            raise expected("item bias", f"[{len(self.items)}]", self.bias.shape)


def full_ranking(
    model: VectorModel,
    truth: UserItems,
    k: int,
    *,
    excluded: UserItems | None = None,
    threads: int = 1,
) -> Callable[[Int64], Int64]:
    """Viewer rows int64[m] -> lists int64[m, k] of the k best videos of all, best first, -1 pads: a list maker for evaluate_retrieval.

    truth: of the model's u viewers, whose videos stand behind their equals; excluded: videos never listed. A NaN or -inf score is never
    listed. threads: blocks at a time, the lists are the same for any number. Raises InvalidInput for sets of another number of
    viewers, an id outside the catalogue or k < 1."""
    for name, sets in (("truth", truth), ("excluded", excluded)):
        if sets is not None and sets.n_users != len(model.users):
            raise expected(name, f"{len(model.users)} viewers", sets.n_users)
        if sets is not None and len(sets) and sets.item_id.max() >= len(model.items):
            raise expected(name, f"ids below {len(model.items)}", int(sets.item_id.max()))
    if k < 1:
        raise expected("k", "at least 1", k)
    nothing = UserItems(np.zeros(len(model.users) + 1, np.int64), np.zeros(0, np.int64))
    left_out = excluded or nothing

    def produce(rows: Int64) -> Int64:
        def block(start: int) -> Int64:
            part = rows[start : start + BLOCK]
            users = np.ascontiguousarray(model.users[part], np.float32)
            return _block(users, model, truth.take(part), left_out.take(part), k)

        ranked = np.full((len(rows), k), -1, np.int64)
        starts = range(0, len(rows), BLOCK)
        with ThreadPoolExecutor(threads) as pool:
            for start, lists in zip(starts, pool.map(block, starts), strict=True):
                ranked[start : start + BLOCK] = lists
        return ranked

    return produce


def _block(
    users: Float32, model: VectorModel, truth: UserItems, excluded: UserItems, k: int
) -> Int64:
    """int64[b, k] of b viewers."""
    relevant, left_out = _ByItem.of(truth.without(excluded)), _ByItem.of(excluded)
    best = _Best(len(users), k)
    for start in range(0, len(model.items), TILE):
        stop = min(start + TILE, len(model.items))
        scores = np.dot(users, model.items[start:stop].T)
        if model.bias is not None:
            scores += model.bias[start:stop]
        scores[left_out.cells(start, stop)] = -np.inf
        row, column = relevant.cells(start, stop)
        value = scores[row, column]
        scores[row, column] = -np.inf  # entered apart: it stands behind its equals
        best.enter_relevant(row, column + start, value)
        best.enter(scores, start)
    return best.lists()


@dataclass(frozen=True, slots=True)
class _ByItem:
    """Pairs of a block ordered by video, so that a tile's are a slice."""

    row: Int64
    item_id: Int64  # ascending

    @staticmethod
    def of(sets: UserItems) -> _ByItem:
        order = np.argsort(sets.item_id, kind="stable")
        return _ByItem(sets.users()[order], sets.item_id[order])

    def cells(self, start: int, stop: int) -> tuple[Int64, Int64]:
        """(row, column in the tile) of the pairs whose video is one of start .. stop - 1."""
        low, high = np.searchsorted(self.item_id, (start, stop))
        return self.row[low:high], self.item_id[low:high] - start


class _Best:
    """The best k keys of each viewer of a block so far, behind which new ones wait to be sorted in."""

    def __init__(self, n_users: int, k: int) -> None:
        self._k = k
        self._keys = np.full((n_users, k + 2 * TILE), _EMPTY, np.uint64)
        self._fill = np.zeros(n_users, np.int64)
        self._bar = np.full(n_users, -np.inf, np.float32)  # what a score must reach

    def enter(self, scores: Float32, first_id: int) -> None:
        """The videos first_id, first_id + 1, ... with scores float32[b, at most TILE]; -inf and NaN are never entered."""
        row, column = self._over(scores)
        counts = np.bincount(row, minlength=len(self._fill))
        if (self._fill + counts > self._keys.shape[1]).any():
            self._settle()
            row, column = self._over(scores)
        self._add(row, _keys(scores[row, column], column + first_id))

    def enter_relevant(self, row: Int64, item_id: Int64, value: Float32) -> None:
        """Relevant videos of one tile, each after the equals of its score."""
        is_in = (value >= self._bar[row]) & (value > -np.inf)
        if self._fill.max(initial=0) > self._k + TILE:
            self._settle()
        order = np.argsort(row[is_in], kind="stable")
        keys = _keys(value[is_in], item_id[is_in]) | _RELEVANT
        self._add(row[is_in][order], keys[order])

    def lists(self) -> Int64:
        """int64[b, k]: the best, in order."""
        self._settle()
        keys = np.sort(self._keys[:, : self._k], axis=1)
        return np.where(keys == _EMPTY, -1, (keys & _ID).astype(np.int64))

    def _over(self, scores: Float32) -> tuple[Int64, Int64]:
        """(row, column) of the cells that reach their viewer's bar, row by row."""
        bar = np.maximum(self._bar, np.finfo(np.float32).min)[:, None]
        cell = np.flatnonzero(scores >= bar)
        return cell // scores.shape[1], cell % scores.shape[1]

    def _add(self, row: Int64, keys: UInt64) -> None:
        """Appends keys whose rows ascend."""
        counts = np.bincount(row, minlength=len(self._fill))
        starts = np.cumsum(counts) - counts
        self._keys[row, self._fill[row] + np.arange(len(row)) - starts[row]] = keys
        self._fill += counts

    def _settle(self) -> None:
        """Keeps the best k of each viewer and raises the bars."""
        width = int(self._fill.max(initial=0))
        if width > self._k:
            kept = np.partition(self._keys[:, :width], self._k - 1, axis=1)[:, : self._k]
            self._keys[:, : self._k] = kept
            self._keys[:, self._k : width] = _EMPTY
        self._fill = np.minimum(self._fill, self._k)
        is_full = self._fill == self._k
        worst = self._keys[is_full, : self._k].max(1)
        self._bar[is_full] = _values(worst)


def _keys(value: Float32, item_id: Int64) -> UInt64:
    """uint64[m] that ascend as scores descend, then as ids ascend; the bit between them is free."""
    bits = (value + np.float32(0.0)).view(np.int32)  # -0 becomes 0
    ascending = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + (1 << 31)
    keys: UInt64 = ((1 << 32) - 1 - ascending).astype(np.uint64) << np.uint64(32)
    return keys | item_id.astype(np.uint64)


def _values(keys: UInt64) -> Float32:
    """The scores of keys."""
    ascending = (1 << 32) - 1 - (keys >> np.uint64(32)).astype(np.int64)
    bits = (ascending - (1 << 31)).astype(np.int32)
    values: Float32 = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)
    return values
