"""Nearest vectors by inner product: an immutable base, a small exact delta, tombstones (FAISS; DEPS section 1).

Below 100k vectors the base is searched exactly. Above, it is FAISS IVF with fp16 vectors, memory-mapped so that all workers share one
copy, with a search effort that every build calibrates (calibrate.py), and exact search of the allowed vectors where a filter leaves
few. Vectors that come later live in the delta and are searched exactly; a removed or replaced one is a tombstone in the base.
"""

from __future__ import annotations

import json
import threading
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import faiss as _faiss
import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.calibrate import Effort, calibrate, nprobe_for
from upnext.retrieval.config import IndexConfig

faiss: Any = _faiss  # its stubs leave out what its Python layer adds
_N_REACHES: Final = 64  # each costs a bit per video
_NONE: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a filter leaves of the base."""

    bits: Array  # uint8[n_ids / 8]: alive and allowed, by item_id
    share: float  # allowed ids per vector of the base
    parameters: Any  # FAISS's, with a selector that reads `bits`


class FaissIndex:
    """Videos by vector. One thread searches; another may add and remove meanwhile."""

    def __init__(
        self,
        vectors: Array,
        item_id: Int64,
        config: IndexConfig,
        lists: Any = None,
        effort: tuple[Effort, ...] = (),
    ) -> None:
        """Use build or load. vectors float32|float16[n, d] aligned with item_id int64[n]; lists: the FAISS index, None: exact."""
        self._vectors, self._item_id, self._config = vectors, item_id, config
        self._lists = lists
        self.effort = effort
        n_ids = int(item_id.max(initial=-1)) + 1
        self._row = np.full(n_ids, -1, np.int64)  # item_id -> row of the base
        self._row[item_id] = np.arange(len(item_id))
        self._is_alive = self._row >= 0  # by item_id: in the base and not a tombstone
        self._bits = _packed(self._is_alive)
        # by id of a filter's mask: the mask, the bits of what was alive then, and what came of both
        self._reaches: dict[int, tuple[weakref.ref[Bool], Array, _Reach]] = {}
        self._searching = threading.Lock()
        self._delta_id = np.zeros(0, np.int64)
        self._delta = np.zeros((0, vectors.shape[1]), np.float32)

    @classmethod
    def build(
        cls,
        vectors: Float32,
        item_id: Int64,
        config: IndexConfig | None = None,
        queries: Float32 | None = None,
    ) -> FaissIndex:
        """An index of float32[n, d] by unique item_id int64[n]; queries float32[q, d] calibrate it (else vectors do).

        Raises InvalidInput where the shapes differ or an id repeats."""
        config = config or IndexConfig()
        if len(vectors) != len(item_id) or len(np.unique(item_id)) != len(item_id):
            raise expected("index", f"{len(vectors)} unique item ids", len(item_id))
        if len(vectors) < config.flat_below:
            return cls(np.ascontiguousarray(vectors, np.float32), item_id, config)
        n_lists = max(1, int(config.lists_per_sqrt * np.sqrt(len(vectors))))
        lists = faiss.index_factory(
            vectors.shape[1], f"IVF{n_lists},SQfp16", faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.seed = config.seed + 1
        rng = np.random.default_rng(config.seed)
        sample = rng.choice(len(vectors), min(len(vectors), 64 * n_lists), replace=False)
        lists.train(np.ascontiguousarray(vectors[np.sort(sample)], np.float32))
        lists.add_with_ids(np.ascontiguousarray(vectors, np.float32), item_id)
        index = cls(vectors.astype(np.float16), item_id, config, lists)
        index._calibrate(queries, rng)
        return index

    def _calibrate(self, queries: Float32 | None, rng: np.random.Generator) -> None:
        source = self._vectors if queries is None else queries
        chosen = rng.choice(
            len(source), min(len(source), self._config.n_calibration), replace=False
        )
        sample = np.ascontiguousarray(source[np.sort(chosen)], np.float32)
        n_lists = self._lists.nlist
        self.effort = calibrate(
            self._probe_rows, self._vectors, sample, n_lists,
            self._config.target_recall, self._config.seed,
        )  # fmt: skip

    def _probe_rows(self, queries: Float32, k: int, rows: Bool | None, nprobe: int) -> Int64:
        allowed = None
        if rows is not None:
            allowed = np.zeros(len(self._row), bool)
            allowed[self._item_id[rows]] = True
        ids, _ = self._probe(queries, k, None if allowed is None else _packed(allowed), nprobe)
        return (
            self._row[ids[ids >= 0]]
            if len(queries) == 1
            else np.where(ids >= 0, self._row[ids], -1)
        )

    def __len__(self) -> int:
        """Vectors that can be found."""
        return int(self._is_alive.sum()) + len(self._delta_id)

    def search(
        self,
        vectors: Float32,
        k: int,
        allowed: Bool | None = None,
        *,
        without: Int64 | None = None,
    ) -> tuple[Int64, Float32]:
        """(ids int64[b, k], scores float32[b, k]), best first, -1 and -inf where fewer exist.

        vectors float32[b, d]; allowed bool[n_items] by item_id (an id beyond its end is not allowed), None: all; without
        int64[m]: ids left out besides, such as seen ones."""
        queries = np.ascontiguousarray(vectors, np.float32)
        delta_id, delta = self._delta_id, self._delta  # one consistent pair
        ids, scores = self._search_base(queries, k, allowed, without)
        if not len(delta_id):
            return ids, scores
        usable = _usable(delta_id, allowed, without)
        more_ids, more_scores = _exact(queries, delta[usable], delta_id[usable], k)
        return _best(np.hstack([ids, more_ids]), np.hstack([scores, more_scores]), k)

    def _search_base(
        self, queries: Float32, k: int, allowed: Bool | None, without: Int64 | None
    ) -> tuple[Int64, Float32]:
        if self._lists is None:
            usable = _usable(self._item_id, allowed, without) & self._is_alive[self._item_id]
            return _exact(queries, self._vectors, self._item_id, k, usable)
        reach = self._reach(allowed)
        if allowed is not None and reach.share < self._config.brute_below:
            ids = np.flatnonzero(allowed[: len(self._is_alive)])
            ids = ids[_usable(ids, allowed, without) & self._is_alive[ids]]
            return _exact(queries, self._vectors[self._row[ids]], ids, k)
        left_out = _NONE if without is None else without
        left_out = left_out[(left_out >= 0) & (left_out < len(self._row))]
        holes = (~(1 << (left_out & 7)) & 255).astype(np.uint8)
        place = left_out >> 3
        with self._searching:  # the bits are shared: holes are filled again after the search
            before = reach.bits.take(place)
            np.bitwise_and.at(reach.bits, place, holes)
            try:
                return self._run(queries, k, reach.parameters)
            finally:
                reach.bits[place] = before

    def _reach(self, allowed: Bool | None) -> _Reach:
        """Of a filter. That of one which nobody can change any more is kept: a pass over a million flags costs as much as a search."""
        alive = self._bits  # another array after every change
        if allowed is None:
            return self._reach_of(alive.copy(), 1.0)
        known = self._reaches.get(id(allowed))
        if known is not None and known[0]() is allowed and known[1] is alive:
            return known[2]
        bits = alive.copy()
        packed = _packed(allowed[: len(self._row)])
        bits[: len(packed)] &= packed
        bits[len(packed) :] = 0
        reach = self._reach_of(bits, np.count_nonzero(allowed) / max(1, len(self._item_id)))
        if allowed.flags.owndata and not allowed.flags.writeable:
            if len(self._reaches) >= _N_REACHES:
                self._reaches = {}
            self._reaches[id(allowed)] = (weakref.ref(allowed), alive, reach)
        return reach

    def _reach_of(self, bits: Array, share: float) -> _Reach:
        selector = faiss.IDSelectorBitmap(bits)
        nprobe = nprobe_for(self.effort, share)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
        return _Reach(bits, share, parameters)

    def _probe(
        self, queries: Float32, k: int, bits: Array | None, nprobe: int
    ) -> tuple[Int64, Float32]:
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)
        if bits is not None:
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
        return self._run(queries, k, parameters)

    def _run(self, queries: Float32, k: int, parameters: Any) -> tuple[Int64, Float32]:
        scores, ids = self._lists.search(queries, k, params=parameters)
        scores[ids < 0] = -np.inf
        return ids, scores

    def add(self, item_id: Int64, vectors: Float32) -> None:
        """Adds vectors float32[m, d] of unique ids int64[m]; an id that is here already gets the new vector."""
        kept = ~np.isin(self._delta_id, item_id)
        fresh = np.vstack([self._delta[kept], np.asarray(vectors, np.float32)])
        ids = np.concatenate([self._delta_id[kept], item_id])
        # the delta first: for a moment a video may be found twice, never not at all
        self._delta, self._delta_id = fresh, ids
        self._bury(item_id)

    def remove(self, item_id: Int64) -> None:
        """Takes ids out; an id that isn't here is no error."""
        kept = ~np.isin(self._delta_id, item_id)
        self._delta_id, self._delta = self._delta_id[kept], self._delta[kept]
        self._bury(item_id)

    def _bury(self, item_id: Int64) -> None:
        known = item_id[(item_id >= 0) & (item_id < len(self._is_alive))]
        self._is_alive[known] = False
        self._bits = _packed(self._is_alive)

    def save(self, folder: Path) -> None:
        """Writes the base as it was built: delta and tombstones are rebuilt from the catalogue."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", self._vectors)
        np.save(folder / "item_id.npy", self._item_id)
        if self._lists is not None:
            faiss.write_index(self._lists, str(folder / "lists.faiss"))
        meta = {
            "config": self._config.model_dump(mode="json"),
            "effort": [asdict(e) for e in self.effort],
            "is_flat": self._lists is None,
        }
        (folder / "index.json").write_text(json.dumps(meta, indent=1))

    @classmethod
    def load(cls, folder: Path) -> FaissIndex:
        """The index that was saved there, memory-mapped: workers share its pages."""
        meta = json.loads((folder / "index.json").read_text())
        lists = None
        if not meta["is_flat"]:
            lists = faiss.read_index(str(folder / "lists.faiss"), faiss.IO_FLAG_MMAP_IFC)
        return cls(
            np.load(folder / "vectors.npy", mmap_mode="r"),
            np.load(folder / "item_id.npy"),
            IndexConfig.model_validate(meta["config"]),
            lists,
            tuple(Effort(**e) for e in meta["effort"]),
        )


def _packed(allowed: Bool) -> Array:
    return np.packbits(allowed, bitorder="little")


def _usable(item_id: Int64, allowed: Bool | None, without: Int64 | None) -> Bool:
    """bool[n] of ids int64[n]."""
    usable = np.ones(len(item_id), bool)
    if allowed is not None:
        inside = item_id < len(allowed)
        usable &= inside
        usable[inside] = allowed[item_id[inside]]
    if without is not None and len(without):
        usable &= ~np.isin(item_id, without)
    return usable


def _exact(
    queries: Float32, vectors: Array, item_id: Int64, k: int, usable: Bool | None = None
) -> tuple[Int64, Float32]:
    """Search among vectors [n, d], those where usable bool[n] holds; where that leaves few only those are read."""
    if usable is not None and not usable.all():
        rows = np.flatnonzero(usable)
        if 4 * len(rows) < len(usable):
            return _exact(queries, vectors[rows], item_id[rows], k)
    scores = queries @ vectors.astype(np.float32, copy=False).T
    if usable is not None:
        scores[:, ~usable] = -np.inf
    return _best(np.broadcast_to(item_id, scores.shape), scores, k)


def _best(ids: Int64, scores: Float32, k: int) -> tuple[Int64, Float32]:
    """The k best of each row, ties by id; -1 and -inf where fewer exist."""
    n = scores.shape[1]
    if n > k:
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        ids, scores = np.take_along_axis(ids, top, 1), np.take_along_axis(scores, top, 1)
    order = np.lexsort((ids, -scores), axis=1)
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    ids = np.where(np.isneginf(scores), -1, ids)
    if n < k:
        gap = ((0, 0), (0, k - n))
        ids = np.pad(ids, gap, constant_values=-1)
        scores = np.pad(scores, gap, constant_values=-np.inf)
    return ids.astype(np.int64), scores.astype(np.float32)
