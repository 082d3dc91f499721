"""How far a search must walk: measured against exact search on the very vectors, under filters of several shares.

One nprobe gave a recall@500 of .986 and of .744 on two sets of vectors, and .55 under a 1.8 % filter (docs/scale.md), so the effort is found anew at every
build: the number of usable vectors that the lists read must hold together (inverted_lists.py). It is measured for no filter and for filters that allow 50, 20, 10, 5,
2 and .5 %: at random, all on one side of the space, and neighbouring lists, as a language is; and for viewers whose vector lies where videos do,
viewers between three videos, and the half of all that is farthest from what a filter allows. The largest effort counts, and the target must hold
at two standard errors below the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.codes import replace_least
from upnext.retrieval.products import best, products

SHARES: Final = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.005)
K: Final = 500
STEP: Final = 1.2  # from one effort tried to the next
_SIDE_SAMPLE: Final = 20_000
_BLOCK: Final = 262_144  # rows made float32 at a time
_TILE: Final = 2_048  # rows multiplied at a time: 256 viewers' products stay in the cache
_RUN: Final = 64  # products that are held against the bar together

Probe = Callable[[Float32, int, int], Int64]  # queries, k, n_met -> rows int64[b, k]
# a filter by row and the n_met so far -> how to search under it; None: exactly, whatever the effort
UnderFilter = Callable[[Bool | None, int], Probe | None]


@dataclass(frozen=True)
class Effort:
    """What a filter of this share costs."""

    share: float  # of the vectors that the filter allows
    n_met: int  # usable vectors in the lists that are read
    recall: float  # @500, measured: of the kind of filter and viewer where it is least


@dataclass(frozen=True)
class Rows:
    """Vectors [r, d] times scale: what is searched."""

    vectors: Array
    scale: float

    def blocks(self) -> Iterator[tuple[int, Float32]]:
        """(first row, float32[m, d]) from the first to the last."""
        for start in range(0, len(self.vectors), _BLOCK):
            yield start, self.take(slice(start, start + _BLOCK))

    def take(self, rows: Int64 | slice) -> Float32:
        """float32[m, d] of some."""
        return np.asarray(self.vectors[rows], np.float32) * np.float32(self.scale)


def calibrate(
    under: UnderFilter, rows: Rows, viewers: list[Float32], target: float, seed: int
) -> tuple[Effort, ...]:
    """The first n_met, a fifth above the one before, that reaches the target, for each share; never less than a larger share needs.

    viewers: float32[b, d] of each kind, as many of each. A filter that leaves so few that they are searched exactly is not measured."""
    rng = np.random.default_rng(seed)
    everyone = np.concatenate(viewers)
    direction = rng.standard_normal((1, rows.vectors.shape[1]), dtype=np.float32)
    side = np.concatenate([products(direction, block)[0] for _, block in rows.blocks()])
    efforts: list[Effort] = []
    least = K
    for share in SHARES:
        worst = Effort(share, least, 1.0)
        for usable in _filters(rows, share, side, rng):
            probe = under(usable, worst.n_met)
            if probe is None:
                continue
            most = len(rows.vectors) if usable is None else int(usable.sum())
            truth = exact(everyone, rows, K, usable)
            groups = _groups(everyone, truth, rows, len(viewers), usable is not None)
            found = _enough(partial(probe, everyone, K), truth, groups, worst, most, target)
            worst = Effort(share, found.n_met, min(found.recall, worst.recall))
        efforts.append(worst)
        least = worst.n_met
    return tuple(efforts)


def met_for(efforts: tuple[Effort, ...], share: float) -> int:
    """The effort measured for the largest share that is not above this one (the last one below all); 0 where none was measured."""
    for effort in efforts:
        if share >= effort.share:
            return effort.n_met
    return efforts[-1].n_met if efforts else 0


def exact(queries: Float32, rows: Rows, k: int, usable: Bool | None = None) -> Int64:
    """int64[b, k]: rows of the k largest inner products among the usable ones bool[r], best first, then -1.

    A matrix product, of which only what beats a query's k-th best so far is looked at (a library's exact search took several times as long)."""
    found = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    own = np.arange(len(rows.vectors)) if usable is None else np.flatnonzero(usable)
    for start in range(0, len(own), _TILE):
        part = own[start : start + _TILE]
        tile = rows.take(slice(start, start + _TILE) if usable is None else part)
        _keep_best(found, scores, queries @ tile.T, part)
    return best(found, scores, k)[0]


def recall_of(found: Int64, truth: Int64) -> Array:
    """float64[b]: the share of each query's true rows (-1: none) that were found; 1 where there are none."""
    return _recall_of(np.sort(found, axis=1), np.sort(truth, axis=1))


def _filters(
    rows: Rows, share: float, side: Float32, rng: np.random.Generator
) -> list[Bool | None]:
    """bool[r] each: at random, where side float32[r] is largest, and rows that follow each other, which are neighbouring lists."""
    if share >= 1:
        return [None]
    n = len(rows.vectors)
    sample = rng.choice(n, min(n, _SIDE_SAMPLE), replace=False)
    cut = np.quantile(side[sample], 1 - share)
    together = np.roll(np.arange(n) < share * n, rng.integers(n))
    return [rng.random(n, np.float32) < share, side >= cut, together]


def _groups(
    viewers: Float32, truth: Int64, rows: Rows, n_kinds: int, is_filtered: bool
) -> list[Int64]:
    """Whose recall must reach the target: viewers of each kind, and under a filter the half that is farthest from what it allows."""
    groups = np.split(np.arange(len(viewers)), n_kinds)
    if is_filtered and (truth[:, 0] >= 0).all():
        nearest = rows.take(truth[:, 0])
        groups.append(np.argsort((viewers * nearest).sum(axis=1))[: len(viewers) // 2])
    return groups


def _enough(
    found: Callable[[int], Int64], truth: Int64, groups: list[Int64], start: Effort, most: int,
    target: float,
) -> Effort:  # fmt: skip
    """The first effort from `start` on whose rows, found(n_met), reach the target for every group of viewers; `most` reads every list."""
    n_met = start.n_met
    while True:
        of_viewer = recall_of(found(n_met), truth)
        recalls = [of_viewer[group] for group in groups]
        low = min(one.mean() - 2 * one.std() / np.sqrt(len(one)) for one in recalls)
        if low >= target or n_met >= most:
            return Effort(start.share, n_met, float(min(one.mean() for one in recalls)))
        n_met = int(np.ceil(n_met * STEP))


@compiled
def _keep_best(found: Int64, scores: Float32, more: Float32, rows: Int64) -> None:
    """Takes products float32[b, m] of rows int64[m] into heaps of rows and scores [b, k], the least first."""
    for q in range(len(more)):
        for start in range(0, len(rows), _RUN):
            run = more[q, start : start + _RUN]
            if _n_above(run, scores[q, 0]):
                for i in range(len(run)):
                    if run[i] > scores[q, 0]:
                        replace_least(found[q], scores[q], rows[start + i], run[i])


@compiled_sums
def _n_above(run: Float32, bar: float) -> int:
    n = 0
    for one in run:
        n += one > bar
    return n


@compiled
def _recall_of(found: Int64, truth: Int64) -> Array:
    """Of rows in ascending order, different but for -1."""
    recall = np.ones(len(truth))
    for q in range(len(truth)):
        at, n_true, n_found = 0, 0, 0
        for row in truth[q]:
            if row < 0:
                continue
            n_true += 1
            while at < found.shape[1] and found[q, at] < row:
                at += 1
            n_found += at < found.shape[1] and found[q, at] == row
        if n_true:
            recall[q] = n_found / n_true
    return recall
