"""Inner products of few queries with many rows, and the best of them.

BLAS reads a matrix again for every query where there are two to four of them (three queries against 100,000 rows of 64 numbers: 23 ms, one: 2 ms),
and numpy turns float16 into float32 at 2.6 ns a number. The loops here read each row once, whatever its type and however many queries.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Array, Float32, Int64

_FEW: Final = 4  # queries; BLAS is as fast or faster beyond


def products(queries: Float32, vectors: Float32) -> Float32:
    """float32[b, n] of queries float32[b, d] with vectors float32[n, d]."""
    if len(queries) > _FEW:
        return queries @ vectors.T
    return _all_products(queries, vectors)


def products_of_rows(queries: Float32, vectors: Array, rows: Array) -> Float32:
    """float32[b, m]: queries float32[b, d] with those rows int[m] of vectors [n, d], of any numeric type."""
    return _row_products(queries, vectors, rows)


def products_of_own_rows(queries: Float32, vectors: Array, rows: Int64) -> Float32:
    """float32[b, m]: each query with its own rows int64[b, m]; -inf where a row is negative."""
    return _own_products(queries, vectors, rows)


def best(ids: Int64, scores: Float32, k: int) -> tuple[Int64, Float32]:
    """(int64[b, k], float32[b, k]): the k best of each row of [b, n], ties by id; -1 and -inf where fewer exist."""
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


@compiled_sums
def _all_products(queries: Float32, vectors: Float32) -> Float32:
    b, n = len(queries), len(vectors)
    found = np.empty((b, n), np.float32)
    for i in range(n):
        for q in range(b):
            total = np.float32(0)
            for j in range(vectors.shape[1]):
                total += queries[q, j] * vectors[i, j]
            found[q, i] = total
    return found


@compiled_sums
def _row_products(queries: Float32, vectors: Array, rows: Array) -> Float32:
    b = len(queries)
    found = np.empty((b, len(rows)), np.float32)
    for i in range(len(rows)):
        row = rows[i]
        for q in range(b):
            total = np.float32(0)
            for j in range(vectors.shape[1]):
                total += queries[q, j] * np.float32(vectors[row, j])
            found[q, i] = total
    return found


@compiled
def _own_products(queries: Float32, vectors: Array, rows: Int64) -> Float32:
    found = np.full(rows.shape, -np.inf, np.float32)
    for q in range(len(queries)):
        for i in range(rows.shape[1]):
            if rows[q, i] >= 0:
                found[q, i] = _product(queries[q], vectors[rows[q, i]])
    return found


@compiled_sums
def _product(query: Float32, vector: Array) -> np.float32:
    total = np.float32(0)
    for j in range(len(query)):
        total += query[j] * np.float32(vector[j])
    return total
