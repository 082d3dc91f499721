"""Vectors that are searched exactly, and that may come, change and go: small indexes as a whole, and what came after a larger one was built.

Beside the lists only a vector that reaches the worst result of theirs matters. Each has a copy in one byte a number on a scale of its own; by
Cauchy and Schwarz a product with the copy is off by at most |query| times the largest error of any copy. Those that may reach the bar are then multiplied as they
are, so the answer is exact, and a search reads a quarter of the memory.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.id_set import IdSet
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.products import best, products, products_of_rows

_FIRST_ROOM: Final = 1024
_ROUNDING: Final = np.float32(1e-5)  # of float32 sums, as a share of |query| |vector|
_NARROW: Final = 4  # a filter that leaves under one in so many is applied before the products


class ExactVectors:
    """Float32[n, d] by item_id, in arrays that double when they are full. Not for two threads at once."""

    def __init__(self, vectors: Float32, item_id: Int64) -> None:
        """vectors float32[n, d] of unique ids int64[n]; they are copied at the first change that needs it, so they may be mapped."""
        self._n = len(item_id)  # places in use; one whose id is -1 is free until the arrays grow
        self._n_dead = 0
        self._vectors, self._item_id = vectors, item_id
        self._place = np.zeros(int(item_id.max(initial=-1)) + 1, np.int32)  # by item_id: place + 1
        self._place[item_id] = np.arange(1, self._n + 1)
        self._codes: Array = np.empty(vectors.shape, np.int8)
        self._code_scale = np.empty(self._n, np.float32)  # code * scale is nearly the vector
        self._error = np.float32(0)  # the largest there was
        self._encode(np.arange(self._n, dtype=np.int32))

    def __len__(self) -> int:
        """Vectors that can be found."""
        return self._n - self._n_dead

    def put(self, item_id: Int64, vectors: Float32) -> None:
        """Adds vectors float32[m, d] of unique ids int64[m]; one that is here already gets its new vector."""
        self._make_room(item_id)
        place = self._place[item_id] - 1
        known = place >= 0
        self._vectors[place[known]] = vectors[known]
        fresh = item_id[~known]
        end = self._n + len(fresh)
        self._vectors[self._n : end] = vectors[~known]
        self._item_id[self._n : end] = fresh
        self._place[fresh] = np.arange(self._n + 1, end + 1)
        self._n = end
        self._encode(self._places_of(item_id))

    def drop(self, item_id: Int64) -> None:
        """Takes ids out; one that isn't here is no error."""
        place = np.unique(self._places_of(item_id))
        if not len(place):
            return
        if not self._item_id.flags.writeable:
            self._item_id = self._item_id.copy()
        self._place[self._item_id[place]] = 0
        self._item_id[place] = -1
        self._n_dead += len(place)

    def search(
        self,
        queries: Float32,
        k: int,
        allowed: Bool | None,
        without: IdSet | None,
        floor: Float32 | None = None,
    ) -> tuple[Int64, Float32]:
        """(ids int64[b, k], scores float32[b, k]) as VectorIndex.search; only scores of at least floor float32[b] matter, where given."""
        vectors, item_id = self._vectors[: self._n], self._item_id[: self._n]
        if floor is None or np.isneginf(floor).any():
            usable = self._usable(np.arange(self._n), allowed, without)
            if _NARROW * len(usable) < self._n:
                scores = products_of_rows(queries, vectors, usable)
            else:
                scores = products(queries, vectors)
                scores = scores if len(usable) == self._n else scores[:, usable]
        else:  # few can matter: only those are held against the filter
            bar = floor - self._error * np.linalg.norm(queries, axis=1)
            near = _reaching(queries, self._codes[: self._n], self._code_scale, bar)
            usable = self._usable(near, allowed, without)
            scores = products_of_rows(queries, vectors, usable)
        return best(np.broadcast_to(item_id[usable], scores.shape), scores, k)

    def _usable(self, place: Int64, allowed: Bool | None, without: IdSet | None) -> Int64:
        """Those of the places that hold a video which is allowed and not left out."""
        ids = self._item_id[place]
        usable = ids >= 0
        if allowed is not None:
            usable &= ids < len(allowed)
            usable[usable] = allowed[ids[usable]]
        if without is not None and len(without):
            left_out = np.zeros(self._n, np.bool_)
            left_out[self._places_of(without.ids)] = True
            usable &= ~left_out[place]
        return place[usable]

    def _places_of(self, item_id: Int64) -> Array:
        """Of those ids that are here."""
        inside = item_id[(item_id >= 0) & (item_id < len(self._place))]
        place = self._place[inside]
        return place[place > 0] - 1

    def _encode(self, place: Array) -> None:
        """Brings the copies of some places up to date."""
        error = _encode(self._vectors, place, self._codes, self._code_scale)
        self._error = max(self._error, error)

    def _make_room(self, item_id: Int64) -> None:
        n_ids = int(item_id.max(initial=-1)) + 1
        if n_ids > len(self._place):
            place = np.zeros(max(n_ids, 2 * len(self._place)), np.int32)
            place[: len(self._place)] = self._place
            self._place = place
        needed = self._n + len(item_id)
        is_ours = self._vectors.flags.writeable and self._item_id.flags.writeable
        if needed <= len(self._item_id) and is_ours:
            return
        kept = np.flatnonzero(self._item_id[: self._n] >= 0)
        room = max(_FIRST_ROOM, 2 * (len(kept) + len(item_id)))
        vectors = np.empty((room, self._vectors.shape[1]), np.float32)
        ids = np.full(room, -1, np.int64)
        vectors[: len(kept)], ids[: len(kept)] = self._vectors[kept], self._item_id[kept]
        codes, code_scale = np.empty(vectors.shape, np.int8), np.empty(room, np.float32)
        codes[: len(kept)], code_scale[: len(kept)] = self._codes[kept], self._code_scale[kept]
        self._vectors, self._item_id = vectors, ids
        self._codes, self._code_scale = codes, code_scale
        self._n, self._n_dead = len(kept), 0
        self._place[ids[: len(kept)]] = np.arange(1, len(kept) + 1)


@compiled
def _encode(vectors: Float32, place: Array, codes: Array, code_scale: Float32) -> np.float32:
    """Writes the copies of vectors at some places -> the largest error of one, with room for rounding."""
    most = np.float32(0)
    for at in place:
        vector = vectors[at]
        largest = np.float32(1e-12)
        for one in vector:
            largest = max(largest, abs(one))
        scale = largest / np.float32(127)
        error, length = np.float32(0), np.float32(0)
        for j in range(len(vector)):
            codes[at, j] = np.int8(np.rint(vector[j] / scale))
            error += (vector[j] - codes[at, j] * scale) ** 2
            length += vector[j] ** 2
        code_scale[at] = scale
        most = max(most, np.float32(np.sqrt(error) + _ROUNDING * np.sqrt(length)))
    return most


@compiled
def _reaching(queries: Float32, codes: Array, code_scale: Float32, bar: Float32) -> Int64:
    """int64[m]: places in codes int8[n, d] whose product with any query float32[b, d] reaches its bar float32[b]."""
    near = np.empty(len(codes), np.int64)
    n_near = 0
    for at in range(len(codes)):
        for q in range(len(queries)):
            if _coded_product(queries[q], codes, at) * code_scale[at] >= bar[q]:
                near[n_near] = at
                n_near += 1
                break
    return near[:n_near]


@compiled_sums
def _coded_product(query: Float32, codes: Array, at: int) -> np.float32:
    total = np.float32(0)
    for j in range(len(query)):
        total += query[j] * np.float32(codes[at, j])
    return total
