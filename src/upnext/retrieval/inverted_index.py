"""Nearest vectors by inner product under a filter, while videos come and go (docs/scale.md).

Below 100k vectors all are searched exactly. Above, what a release was built with lies in inverted lists (inverted_lists.py), memory-mapped so that all workers
share one copy, with a search effort that every build calibrates (calibrate.py). What came later is a small part that is searched
exactly (exact_vectors.py), and what was removed or replaced is buried in the lists.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.id_set import IdSet
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.calibrate import Effort
from upnext.retrieval.codes import Codes
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.exact_vectors import ExactVectors
from upnext.retrieval.inverted_lists import InvertedLists, StoredLists
from upnext.retrieval.list_building import calibrated, fill_lists, nearest_lists, train_lists
from upnext.retrieval.products import best

_AT_ONCE: Final = 1024  # vectors added while no search may run
_OF_LISTS: Final = {"scale", "depth", "bits", "effort"}  # what index.json says of lists


class InvertedIndex:
    """A VectorIndex. Threads may search, add and remove at once: each search sees all of an addition or removal, or nothing of it.

    An addition of more than 1024 videos is seen in parts."""

    def __init__(self, vectors: Array, item_id: Int64, stored: StoredLists | None = None) -> None:
        """Use build or load. stored: the lists over everything so far, None: vectors float32[n, d] of item_id int64[n] are searched exactly."""
        self._built = vectors, item_id
        self.stored = stored
        self._lists = None if stored is None else InvertedLists(stored)
        if stored is not None:
            vectors, item_id = np.zeros((0, vectors.shape[1]), np.float32), np.zeros(0, np.int64)
        self._exact = ExactVectors(vectors, item_id)
        self._one = threading.Lock()

    @staticmethod
    def build(
        vectors: Array,
        item_id: Int64,
        config: IndexConfig | None = None,
        queries: Float32 | None = None,
    ) -> InvertedIndex:
        """An index of vectors [n, d] by unique item_id int64[n]; queries float32[q, d] calibrate it (else vectors do).

        Raises InvalidInput where the shapes differ or an id repeats."""
        config = config or IndexConfig()
        _check(vectors, item_id)
        if len(vectors) < config.flat_below:
            return InvertedIndex(np.ascontiguousarray(vectors, np.float32), item_id)
        trained = train_lists(vectors, config)
        stored = fill_lists(trained, nearest_lists(trained, vectors), vectors, item_id)
        return InvertedIndex.of_lists(calibrated(stored, config, queries))

    @staticmethod
    def of_lists(stored: StoredLists) -> InvertedIndex:
        """The index over lists that were built in steps (list_building.py)."""
        return InvertedIndex(stored.vectors, stored.item_id, stored)

    def __len__(self) -> int:
        """Vectors that can be found."""
        return len(self._exact) + (0 if self._lists is None else len(self._lists))

    @property
    def effort(self) -> tuple[Effort, ...]:
        """What filters of several shares cost, as calibrated; empty where search is exact."""
        return () if self.stored is None else self.stored.effort

    def search(
        self,
        vectors: Float32,
        k: int,
        allowed: Bool | None = None,
        *,
        without: IdSet | None = None,
    ) -> tuple[Int64, Float32]:
        """(ids int64[b, k], scores float32[b, k]), best first, -1 and -inf where fewer exist.

        vectors float32[b, d]; allowed bool[n_items] by item_id (an id beyond its end is not allowed), None: all; without:
        ids left out besides, such as seen ones."""
        queries = np.ascontiguousarray(vectors, np.float32)
        with self._one:
            if self._lists is None:
                return self._exact.search(queries, k, allowed, without)
            ids, scores = self._lists.search(queries, k, allowed, without)
            if not len(self._exact):
                return ids, scores
            more_ids, more = self._exact.search(queries, k, allowed, without, scores[:, -1])
        return best(np.hstack([ids, more_ids]), np.hstack([scores, more]), k)

    def lists_read(self, vectors: Float32, allowed: Bool | None = None) -> float:
        """How many inverted lists a search with one of these vectors [b, d] reads, on average; 0 where search is exact."""
        return 0.0 if self._lists is None else self._lists.lists_read(vectors, allowed)

    def add(self, item_id: Int64, vectors: Float32) -> None:
        """Adds vectors float32[m, d] of unique ids int64[m]; an id that is here already gets the new vector.

        Raises InvalidInput where the shapes differ or an id repeats."""
        _check(vectors, item_id)
        size = self._built[0].shape[1]
        if len(item_id) and vectors.shape[1] != size:
            raise expected("index", f"vectors of {size} numbers", vectors.shape[1])
        for start in range(0, len(item_id), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            with self._one:
                self._exact.put(item_id[part], np.asarray(vectors[part], np.float32))
                self._bury(item_id[part])

    def remove(self, item_id: Int64) -> None:
        """Takes ids out; an id that isn't here is no error."""
        with self._one:
            self._exact.drop(item_id)
            self._bury(item_id)

    def _bury(self, item_id: Int64) -> None:
        if self._lists is not None:
            self._lists.bury(item_id)

    def save(self, folder: Path) -> None:
        """Writes what was built: later changes are made anew from the catalogue."""
        folder.mkdir(parents=True, exist_ok=True)
        vectors, item_id = self._built
        arrays = {"vectors": vectors, "item_id": item_id}
        meta: dict[str, Any] = {"is_flat": self.stored is None}
        if self.stored is not None:
            stored = self.stored
            arrays |= {name: getattr(stored, name) for name in ("centroids", "starts", "row_of")}
            meta |= {"scale": stored.scale, "depth": stored.depth, "bits": None}
            meta["effort"] = [asdict(effort) for effort in stored.effort]
            if stored.codes is not None:
                arrays |= {"codes": stored.codes.packed, "code_scale": stored.codes.scale}
                meta["bits"] = stored.codes.bits
        for name, array in arrays.items():
            _save(folder / f"{name}.npy", array)
        (folder / "index.json").write_text(json.dumps(meta, indent=1))

    @staticmethod
    def load(folder: Path) -> InvertedIndex:
        """The index that was saved there, memory-mapped: workers share its pages.

        Raises InvalidInput where an earlier version of UpNext saved it."""
        meta = json.loads((folder / "index.json").read_text())
        if not meta["is_flat"] and not meta.keys() >= _OF_LISTS:
            raise InvalidInput(
                f"index {folder}: expected inverted lists of this version of UpNext, got a release "
                "that an earlier one trained: train a new release"
            )

        def mapped(name: str) -> Array:
            array: Array = np.load(folder / f"{name}.npy", mmap_mode="r")
            return array.view(np.ndarray)  # numpy's memmap costs at every slice

        if meta["is_flat"]:
            return InvertedIndex(mapped("vectors"), mapped("item_id"))
        codes = None
        if meta["bits"] is not None:
            codes = Codes(meta["bits"], np.load(folder / "code_scale.npy"), mapped("codes"))
        stored = StoredLists(
            centroids=np.load(folder / "centroids.npy"),
            starts=np.load(folder / "starts.npy"),
            vectors=mapped("vectors"),
            scale=meta["scale"],
            codes=codes,
            item_id=mapped("item_id"),
            row_of=mapped("row_of"),
            depth=meta["depth"],
            effort=tuple(Effort(**effort) for effort in meta["effort"]),
        )
        return InvertedIndex.of_lists(stored)


def _check(vectors: Array, item_id: Int64) -> None:
    if item_id.min(initial=0) < 0:
        raise expected("index", "item ids from 0", int(item_id.min()))
    if len(vectors) != len(item_id) or len(np.unique(item_id)) != len(item_id):
        raise expected("index", f"{len(vectors)} unique item ids", len(item_id))


def _save(path: Path, vectors: Array) -> None:
    """Writes them, but where they are that very file already."""
    if not (isinstance(vectors, np.memmap) and str(vectors.filename) == str(path.resolve())):
        np.save(path, vectors)
