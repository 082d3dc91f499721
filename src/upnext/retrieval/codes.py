"""Vectors in 8 or 4 bits a number, and the walk over lists of them (scalar quantisation).

A code holds what the centroid leaves, on one scale per dimension, so the score is query . centroid + (query * scale) . code: the scale is
multiplied once into the query, and a walk reads one byte or half a one a number. With 16 levels the step is the best uniform one for a normal
distribution, .335 of the standard deviation (Max 1960); with 255 it spans all values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.id_set import holds
from upnext.core.types import Array, Float32, Int64

_STEP_OF_16: Final = 0.335  # standard deviations
_MIDDLE: Final = 8  # the code of zero in four bits


@dataclass(frozen=True, slots=True)
class Codes:
    """Of r rows."""

    bits: Literal[8, 4]
    scale: Float32  # [d]
    packed: Array  # int8[r, d], or uint8[r, ceil(d / 2)]: dimension j in the low half, j + ceil(d / 2) in the high one

    @staticmethod
    def learn(bits: Literal[8, 4], residuals: Float32) -> Codes:
        """The scale for float32[m, d] of what centroids leave; holds no rows."""
        if bits == 8:
            scale = np.abs(residuals).max(axis=0) / 127
        else:
            scale = _STEP_OF_16 * residuals.std(axis=0)
        d = residuals.shape[1]
        empty = np.zeros((0, d), np.int8) if bits == 8 else np.zeros((0, (d + 1) // 2), np.uint8)
        return Codes(bits, np.maximum(scale, 1e-12).astype(np.float32), empty)

    def encode(self, residuals: Float32) -> Array:
        """Rows of `packed` for float32[m, d]."""
        numbers = np.rint(residuals / self.scale)
        if self.bits == 8:
            return np.asarray(np.clip(numbers, -127, 127), np.int8)
        numbers = (np.clip(numbers, -_MIDDLE, _MIDDLE - 1) + _MIDDLE).astype(np.uint8)
        half = self.packed.shape[1]
        low, high = numbers[:, :half], numbers[:, half:]
        high = np.pad(high, ((0, 0), (0, half - high.shape[1])), constant_values=_MIDDLE)
        return np.asarray(low | (high << 4))

    def of(self, packed: Array) -> Codes:
        """The same codes over rows."""
        return replace(self, packed=packed)


@dataclass(frozen=True, slots=True)
class Passed:
    """Which of r rows may be found."""

    bits: Array  # uint8[r / 8], by row
    item_id: Int64  # [r]
    left_out: Int64  # the table of an IdSet: these ids may not


def scan_vectors(
    queries: Float32, vectors: Array, lists: Int64, starts: Int64, passed: Passed, k: int
) -> tuple[Int64, Float32]:
    """(rows int64[b, k], scores float32[b, k]): the k passed rows of each query's lists int64[b, p] with the largest products, in no order; -1 and -inf where fewer exist."""
    base = np.zeros(lists.shape, np.float32)
    return _scan_wide(
        queries, vectors, lists, base, starts, passed.bits, passed.item_id, passed.left_out, k
    )


def scan_codes(
    queries: Float32, codes: Codes, lists: Int64, nearness: Float32, starts: Int64,
    passed: Passed, k: int,
) -> tuple[Int64, Float32]:  # fmt: skip
    """As scan_vectors, by codes; nearness float32[b, p]: each query's product with the centroid."""
    scaled = queries * codes.scale
    if codes.bits == 8:
        return _scan_wide(
            scaled, codes.packed, lists, nearness, starts, passed.bits, passed.item_id,
            passed.left_out, k,
        )  # fmt: skip
    half = codes.packed.shape[1]
    padded = np.zeros((len(queries), 2 * half), np.float32)
    padded[:, : scaled.shape[1]] = scaled
    base = nearness - _MIDDLE * scaled.sum(axis=1, keepdims=True)
    return _scan_halves(
        padded, codes.packed, lists, base, starts, passed.bits, passed.item_id, passed.left_out, k
    )


@compiled
def _scan_wide(
    queries: Float32, vectors: Array, lists: Int64, base: Float32, starts: Int64, bits: Array,
    item_id: Int64, left_out: Int64, k: int,
) -> tuple[Int64, Float32]:  # fmt: skip
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for q in range(len(queries)):
        for p in range(lists.shape[1]):
            if lists[q, p] < 0:
                break
            for row in range(starts[lists[q, p]], starts[lists[q, p] + 1]):
                if bits[row >> 3] >> (row & 7) & 1:
                    score = base[q, p] + _product(queries[q], vectors, row)
                    if score > scores[q, 0] and not holds(left_out, item_id[row]):
                        replace_least(rows[q], scores[q], row, score)
    return rows, scores


@compiled
def _scan_halves(
    queries: Float32, packed: Array, lists: Int64, base: Float32, starts: Int64, bits: Array,
    item_id: Int64, left_out: Int64, k: int,
) -> tuple[Int64, Float32]:  # fmt: skip
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for q in range(len(queries)):
        for p in range(lists.shape[1]):
            if lists[q, p] < 0:
                break
            for row in range(starts[lists[q, p]], starts[lists[q, p] + 1]):
                if bits[row >> 3] >> (row & 7) & 1:
                    score = base[q, p] + _half_product(queries[q], packed, row)
                    if score > scores[q, 0] and not holds(left_out, item_id[row]):
                        replace_least(rows[q], scores[q], row, score)
    return rows, scores


@compiled
def replace_least(rows: Int64, scores: Float32, row: int, score: float) -> None:
    """In a heap whose least score comes first."""
    at, k = 0, len(scores)
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[at], rows[at] = scores[child], rows[child]
        at = child
    scores[at], rows[at] = score, row


@compiled_sums
def _product(query: Float32, vectors: Array, row: int) -> np.float32:
    total = np.float32(0)
    for j in range(len(query)):
        total += query[j] * np.float32(vectors[row, j])
    return total


@compiled_sums
def _half_product(query: Float32, packed: Array, row: int) -> np.float32:
    half = packed.shape[1]
    total = np.float32(0)
    for j in range(half):
        code = np.int32(packed[row, j])
        total += query[j] * np.float32(code & 15) + query[half + j] * np.float32(code >> 4)
    return total
