"""Builds inverted lists over vectors that need not fit in memory: centroids from a sample, every vector to its nearest one, then list after list.

Vectors may be a memory-mapped file; what is made goes to arrays, or with a folder to files there, a block at a time, so that
10 million vectors of 64 numbers are built in 5.1 GB resident, of which 4.5 are pages of those files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.calibrate import K, Probe, Rows, calibrate, exact, recall_of
from upnext.retrieval.centroids import Centroids
from upnext.retrieval.codes import Codes
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.inverted_lists import InvertedLists, StoredLists

_BLOCK: Final = 65_536
_PER_LIST: Final = 40  # vectors per list that centroids are learned from
_BITS: Final[dict[str, Literal[8, 4] | None]] = {"int16": None, "int8": 8, "int4": 4}
_LARGEST: Final = 32_767  # of int16
_DEPTHS: Final = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # re-ranked per result
_WALKED: Final = 50_000  # vectors that the re-ranking's depth is measured on
_LOST: Final = 0.2  # of what the target lets go, this may be lost by codes that rank wrongly


@dataclass(frozen=True, slots=True)
class TrainedLists:
    """What a sample taught."""

    centroids: Centroids
    codes: Codes | None  # without rows


def train_lists(vectors: Array, config: IndexConfig) -> TrainedLists:
    """Centroids and the scale of codes learned on a sample of vectors [n, d]."""
    n = len(vectors)
    n_lists = max(1, int(config.lists_per_sqrt * np.sqrt(n)))
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.choice(n, min(n, _PER_LIST * n_lists), replace=False))
    sample = np.ascontiguousarray(vectors[chosen], np.float32)
    centroids = Centroids.learn(sample, n_lists, config.seed)
    bits = _BITS[config.vectors]
    if bits is None:
        return TrainedLists(centroids, None)
    left = sample - centroids.vectors[centroids.nearest(sample)]
    return TrainedLists(centroids, Codes.learn(bits, left))


def nearest_lists(
    trained: TrainedLists, vectors: Array, progress: Progress | None = None
) -> npt.NDArray[np.int32]:
    """int32[n]: the list of each of vectors [n, d]."""
    progress = progress or NoProgress()
    found = np.empty(len(vectors), np.int32)
    progress.start("vectors to their lists", len(vectors), "vectors")
    for start in range(0, len(vectors), _BLOCK):
        block = np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)
        found[start : start + len(block)] = trained.centroids.nearest(block)
        progress.advance(len(block))
    progress.done()
    return found


def fill_lists(
    trained: TrainedLists,
    nearest: Array,
    vectors: Array,
    item_id: Int64,
    folder: Path | None = None,
) -> StoredLists:
    """Vectors [n, d] of item_id int64[n] in the order of their lists, not calibrated yet.

    nearest int[n]: the list of each; folder: where the rows are written, as InvertedIndex.save does, else they stay in memory."""
    order = np.lexsort((item_id, nearest))
    scale = max(_largest(vectors), 1e-12) / _LARGEST
    kept = _room(folder, "vectors.npy", vectors.shape, np.int16)
    codes = trained.codes
    packed = None
    if codes is not None:
        shape = (len(order), codes.packed.shape[1])
        packed = _room(folder, "codes.npy", shape, codes.packed.dtype.type)
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        block = np.asarray(vectors[rows], np.float32)
        kept[start : start + len(rows)] = np.rint(block / np.float32(scale))
        if codes is not None and packed is not None:
            block -= trained.centroids.vectors[nearest[rows]]
            packed[start : start + len(rows)] = codes.encode(block)
    row_of = np.full(int(item_id.max(initial=-1)) + 1, -1, np.int32)
    row_of[item_id[order]] = np.arange(len(order))
    return StoredLists(
        centroids=trained.centroids.vectors,
        starts=np.searchsorted(nearest[order], np.arange(len(trained.centroids.vectors) + 1)),
        vectors=kept,
        scale=scale,
        codes=None if codes is None or packed is None else codes.of(packed),
        item_id=item_id[order],
        row_of=row_of,
        depth=1.0,
        effort=(),
    )


def calibrated(
    stored: StoredLists, config: IndexConfig, queries: Float32 | None = None
) -> StoredLists:
    """The same with the depth of re-ranking and the effort under filters that reach the target recall; queries float32[q, d] stand for viewers, else vectors do."""
    rows = Rows(stored.vectors, stored.scale)
    viewers = _viewers(rows, config, queries)
    if stored.codes is not None:
        stored = replace(stored, depth=_depth(stored, rows, viewers[0], config.target_recall))
    index = InvertedLists(stored)

    def under(is_usable: Bool | None, n_met: int) -> Probe | None:
        usable = index.filtered(None) if is_usable is None else index.of_rows(is_usable)
        # this effort also serves filters that allow up to twice as many: those must be exact too
        if usable.n_usable <= n_met or index.is_exact(usable, n_met, 2):
            return None
        return lambda queries, k, n_met: index.probe(queries, k, usable, n_met)[0]

    effort = calibrate(under, rows, viewers, config.target_recall, config.seed)
    return replace(stored, effort=effort)


def _room(folder: Path | None, name: str, shape: tuple[int, ...], dtype: type) -> Array:
    """An array to be filled, in a file of the folder where there is one."""
    if folder is None:
        return np.empty(shape, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / name, "w+", dtype, shape)


def _largest(vectors: Array) -> float:
    blocks = range(0, len(vectors), _BLOCK)
    return max((float(np.abs(vectors[at : at + _BLOCK]).max()) for at in blocks), default=0.0)


def _viewers(rows: Rows, config: IndexConfig, queries: Float32 | None) -> list[Float32]:
    """float32[n_calibration, d] twice: where videos (or the queries) lie, and between three of those."""
    rng = np.random.default_rng(config.seed)
    n = len(rows.vectors) if queries is None else len(queries)
    chosen = np.sort(rng.choice(n, min(n, config.n_calibration), replace=False))
    near = rows.take(chosen) if queries is None else np.asarray(queries[chosen], np.float32)
    mixed = sum(near[rng.permutation(len(near))] for _ in range(3))
    return [np.ascontiguousarray(near), np.ascontiguousarray(mixed, np.float32)]


def _depth(stored: StoredLists, rows: Rows, queries: Float32, target: float) -> float:
    """The fewest candidates per result that hold nearly all of what is best among the vectors walked."""
    index = InvertedLists(stored)
    most = int(_DEPTHS[-1] * K)
    found, _ = index.walk(queries, most, index.filtered(None), max(_WALKED, most))
    truth = exact(queries, rows, K)
    truth = np.stack([np.where(np.isin(a, b), a, -1) for a, b in zip(truth, found, strict=True)])
    for depth in _DEPTHS:
        recall = recall_of(found[:, : int(depth * K)], truth)
        if recall.mean() >= 1 - _LOST * (1 - target):
            return depth
    return _DEPTHS[-1]
