"""Alternating least squares: one side solved from the other, row by row, in parallel and to the same bits for any number of threads.

Conjugate gradients go on from where a row stands (Takács, Pilászy, Tikk 2011): a step costs two products per pair.
Blocks of factors are solved exactly, one after the other, the rest held (iALS++, Rendle et al. 2021); a block of all factors is the Cholesky solver.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from upnext.core.compiled import compiled_sums
from upnext.core.types import Float32, Int64
from upnext.retrieval.factorisation.least_squares import Side

_TINY = np.float32(1e-20)  # squared residual of a row that is solved
_CHUNKS = 8  # per thread: rows differ in length


def solve_by_cg(
    side: Side,
    other: Float32,
    unobserved_weight: float,
    factors: Float32,
    n_steps: int,
    threads: int,
) -> None:
    """Moves factors float32[r, d] n_steps towards the least loss, given the other side's float32[c, d]; in place."""
    gram = gram_of(other, unobserved_weight)
    _over_rows(
        lambda a, b: _cg(
            a, b, side.start, side.column, side.extra, side.pull, side.ridge,
            other, gram, factors, n_steps,
        ),
        side, threads,
    )  # fmt: skip


def solve_by_blocks(
    side: Side,
    other: Float32,
    unobserved_weight: float,
    factors: Float32,
    block_size: int,
    threads: int,
) -> None:
    """Solves each block of factors float32[r, d] exactly, in turn, given the other side's float32[c, d]; in place."""
    gram, size = gram_of(other, unobserved_weight), min(block_size, factors.shape[1])
    _over_rows(
        lambda a, b: _blocks(
            a, b, side.start, side.column, side.extra, side.pull, side.ridge,
            other, gram, factors, size,
        ),
        side, threads,
    )  # fmt: skip


def gram_of(factors: Float32, weight: float) -> Float32:
    """float32[d, d]: what all rows float32[c, d] together add, each with this weight."""
    gram: Float32 = np.float32(weight) * (factors.T @ factors)
    return gram


def _over_rows(kernel: Callable[[int, int], None], side: Side, threads: int) -> None:
    """Calls kernel(first, last) for ranges of rows with about as many pairs each."""
    wanted = np.linspace(0, int(side.start[-1]) + len(side), _CHUNKS * threads + 1)
    cuts = np.searchsorted(side.start + np.arange(len(side) + 1), wanted)
    cuts[0], cuts[-1] = 0, len(side)
    if threads == 1:
        kernel(0, len(side))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(kernel, cuts[:-1].tolist(), cuts[1:].tolist()))


@compiled_sums
def _cg(
    first: int, last: int, start: Int64, column: Int64, extra: Float32, pull: Float32, ridge: Float32,
    other: Float32, gram: Float32, factors: Float32, n_steps: int,
) -> None:  # fmt: skip
    """n_steps of each row: its pairs' vectors are in the nearest cache from the first pass on."""
    size = len(gram)
    r, p, q = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for row in range(first, last):
        x = factors[row]
        _times_gram(gram, ridge[row], x, q)
        for d in range(len(x)):
            r[d] = -q[d]
        _add_residuals(start[row], start[row + 1], column, extra, pull, other, x, r)
        for d in range(len(x)):
            p[d] = r[d]
        norm = _dot(r, r)
        for _ in range(n_steps):
            if norm < _TINY:
                break
            _times_gram(gram, ridge[row], p, q)
            _add_pairs(start[row], start[row + 1], column, extra, other, p, q)
            step = norm / _dot(p, q)
            for d in range(len(x)):
                x[d] += step * p[d]
                r[d] -= step * q[d]
            before, norm = norm, _dot(r, r)
            for d in range(len(x)):
                p[d] = r[d] + norm / before * p[d]


@compiled_sums
def _times_gram(gram: Float32, ridge: float, p: Float32, q: Float32) -> None:
    """q = (gram + ridge) p, four rows of the symmetric matrix at a time."""
    whole = len(p) // 4 * 4
    for d in range(len(p)):
        q[d] = ridge * p[d]
    for j in range(0, whole, 4):
        g0, g1, g2, g3 = gram[j], gram[j + 1], gram[j + 2], gram[j + 3]
        p0, p1, p2, p3 = p[j], p[j + 1], p[j + 2], p[j + 3]
        for d in range(len(p)):
            q[d] += p0 * g0[d] + p1 * g1[d] + p2 * g2[d] + p3 * g3[d]
    for j in range(whole, len(p)):
        g0, p0 = gram[j], p[j]
        for d in range(len(p)):
            q[d] += p0 * g0[d]


@compiled_sums
def _add_residuals(
    first: int,
    last: int,
    column: Int64,
    extra: Float32,
    pull: Float32,
    other: Float32,
    x: Float32,
    r: Float32,
) -> None:
    """r += sum (pull - extra (h.x)) h over pairs."""
    for i in range(first, last):
        h = other[column[i]]
        c = pull[i] - extra[i] * _dot(h, x)
        for d in range(len(x)):
            r[d] += c * h[d]


@compiled_sums
def _add_pairs(
    first: int, last: int, column: Int64, extra: Float32, other: Float32, p: Float32, q: Float32
) -> None:
    """q += sum extra (h.p) h over pairs, four at a time: q is read and written once for four."""
    whole = first + (last - first) // 4 * 4
    for i in range(first, whole, 4):
        h0, h1 = other[column[i]], other[column[i + 1]]
        h2, h3 = other[column[i + 2]], other[column[i + 3]]
        a0, a1, a2, a3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for d in range(len(p)):
            a0 += h0[d] * p[d]
            a1 += h1[d] * p[d]
            a2 += h2[d] * p[d]
            a3 += h3[d] * p[d]
        a0, a1, a2, a3 = a0 * extra[i], a1 * extra[i + 1], a2 * extra[i + 2], a3 * extra[i + 3]
        for d in range(len(p)):
            q[d] += a0 * h0[d] + a1 * h1[d] + a2 * h2[d] + a3 * h3[d]
    for i in range(whole, last):
        h, a = other[column[i]], np.float32(0)
        for d in range(len(p)):
            a += h[d] * p[d]
        a *= extra[i]
        for d in range(len(p)):
            q[d] += a * h[d]


@compiled_sums
def _blocks(
    first: int, last: int, start: Int64, column: Int64, extra: Float32, pull: Float32, ridge: Float32,
    other: Float32, gram: Float32, factors: Float32, size: int,
) -> None:  # fmt: skip
    """A pass over the blocks of each row. The scores of its pairs are kept up to date, so that a block costs its own columns."""
    longest = 0
    for row in range(first, last):
        longest = max(longest, start[row + 1] - start[row])
    score = np.empty(longest, np.float32)
    part, weight = np.zeros((longest + 3, size), np.float32), np.zeros(longest + 3, np.float32)
    hessian, step = np.empty((size, size), np.float32), np.empty(size, np.float32)
    for row in range(first, last):
        x, pairs = factors[row], slice(start[row], start[row + 1])
        columns, weights, pulls = column[pairs], extra[pairs], pull[pairs]
        n = len(columns)
        for i in range(n):
            score[i] = _dot(other[columns[i]], x)
            weight[i] = weights[i]
        weight[n : n + 3] = 0
        for low in range(0, len(x), size):
            width = min(size, len(x) - low)
            _start_block(gram, x, ridge[row], low, width, hessian, step)
            for i in range(n):
                h, kept = other[columns[i], low : low + width], part[i]
                c = pulls[i] - weights[i] * score[i]
                for d in range(width):
                    kept[d] = h[d]
                    step[d] += c * h[d]
            for i in range(0, n, 4):  # beyond the end: weight 0
                _add_outer(
                    hessian,
                    width,
                    part[i],
                    part[i + 1],
                    part[i + 2],
                    part[i + 3],
                    weight[i : i + 4],
                )
            solve_positive(hessian, step, width)
            for d in range(width):
                x[low + d] += step[d]
            if width < len(x):
                for i in range(n):
                    score[i] += _dot(part[i, :width], step)


@compiled_sums
def _dot(a: Float32, b: Float32) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@compiled_sums
def _start_block(
    gram: Float32, x: Float32, ridge: float, low: int, width: int, hessian: Float32, step: Float32
) -> None:
    """What all pairs and the ridge put into a block's Hessian and negative gradient."""
    for j in range(width):
        line, into = gram[low + j, low : low + width], hessian[j]
        for d in range(width):
            into[d] = line[d]
        into[j] += ridge
        step[j] = -_dot(gram[low + j], x) - ridge * x[low + j]


@compiled_sums
def _add_outer(
    hessian: Float32,
    width: int,
    h0: Float32,
    h1: Float32,
    h2: Float32,
    h3: Float32,
    weight: Float32,
) -> None:
    """Adds the weighted outer products of four rows to the lower triangle."""
    for j in range(width):
        a0, a1 = weight[0] * h0[j], weight[1] * h1[j]
        a2, a3 = weight[2] * h2[j], weight[3] * h3[j]
        line = hessian[j]
        for d in range(j + 1):
            line[d] += a0 * h0[d] + a1 * h1[d] + a2 * h2[d] + a3 * h3[d]


@compiled_sums
def solve_positive(matrix: Float32, vector: Float32, size: int) -> None:
    """Solves matrix x = vector in place by Cholesky's L L', for the first `size` rows of a symmetric matrix (its lower triangle)."""
    for i in range(size):
        line = matrix[i]
        for j in range(i):
            done, total = matrix[j], np.float32(0)
            for d in range(j):
                total += line[d] * done[d]
            line[j] = (line[j] - total) / done[j]
        total = np.float32(0)
        for d in range(i):
            total += line[d] * line[d]
        line[i] = np.sqrt(line[i] - total)
        total = np.float32(0)
        for d in range(i):
            total += line[d] * vector[d]
        vector[i] = (vector[i] - total) / line[i]
    for back in range(size):
        i = size - 1 - back
        line = matrix[i]
        vector[i] /= line[i]
        for d in range(i):
            vector[d] -= vector[i] * line[d]
