"""Inner products of few queries with many rows, and the best of them.

BLAS reads a matrix again for every query where there are two to four of them (three queries against 100,000 rows of 64 numbers: 23 ms, one: 2 ms),
and numpy turns float16 into float32 at 2.6 ns a number. The loops here read each row once, whatever its type and however many queries.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Array, Float32, Int64
from upnext.retrieval.selection import best_of

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
    return _best(np.ascontiguousarray(ids), np.ascontiguousarray(scores), k)


@compiled
def _best(ids: Int64, scores: Float32, k: int) -> tuple[Int64, Float32]:
    top = np.full((len(ids), k), -1, np.int64)
    top_score = np.full((len(ids), k), -np.inf, np.float32)
    for q in range(len(ids)):
        found, score = best_of(ids[q], scores[q], k)
        for i in range(len(found)):
            if score[i] == -np.inf:
                break
            top[q, i], top_score[q, i] = found[i], score[i]
    return top, top_score


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
