"""The same loss by stochastic gradients, as design A names it beside WALS: a step per shown pair and per random pair.

What W weighs is a sum over all pairs (least_squares.py), so as many uniformly drawn pairs as there are shown ones, each with weight
W (all pairs / drawn pairs), have its gradient in expectation. Steps are scaled per number by Adagrad (Duchi, Hazan, Singer 2011).
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.randomness import generator_of
from upnext.core.types import Array, Float32, Int64
from upnext.retrieval.factorisation.draws import draw_below
from upnext.retrieval.factorisation.least_squares import Side

_START = np.float32(1e-2)  # of Adagrad's sums: the first steps stay short


def first_sums(factors: Float32) -> Float32:
    """Adagrad's sums of squared gradients before the first step, of the shape of the factors."""
    return np.full_like(factors, _START)


def sgd_epoch(
    users: Side, items: Side, factors: tuple[Float32, Float32], sums: tuple[Float32, Float32],
    unobserved_weight: float, learning_rate: float, key: int,
) -> None:  # fmt: skip
    """One pass over the shown pairs in an order drawn by `key`; moves (viewers' float32[u, d], videos' float32[i, d]) and their sums."""
    row = np.repeat(np.arange(len(users)), np.diff(users.start)).astype(np.int64)
    order = generator_of(key).permutation(len(row))
    state = np.array([key], np.uint64)
    share = [side.ridge / np.maximum(1, np.diff(side.start)) for side in (users, items)]
    weight = unobserved_weight * len(users) * len(items) / max(1, len(row))
    _epoch(
        order, row, users.column, users.extra, users.pull, share[0].astype(np.float32), share[1].astype(np.float32),
        *factors, *sums, np.float32(weight), np.float32(learning_rate), state,
    )  # fmt: skip


@compiled
def _epoch(
    order: Int64, row: Int64, column: Array, extra: Float32, pull: Float32, user_ridge: Float32, item_ridge: Float32,
    users: Float32, items: Float32, user_sums: Float32, item_sums: Float32, weight: np.float32, rate: np.float32, state: Array,
) -> None:  # fmt: skip
    """A shown pair carries its share of the two ridges."""
    none = np.float32(0)
    for place in order:
        u, i = row[place], column[place]
        score = _dot(users[u], items[i])
        slope = extra[place] * score - pull[place]
        _step(
            users[u],
            items[i],
            user_sums[u],
            item_sums[i],
            slope,
            user_ridge[u],
            item_ridge[i],
            rate,
        )
        if weight > 0:
            u, i = draw_below(state, len(users)), draw_below(state, len(items))
            slope = weight * _dot(users[u], items[i])
            _step(users[u], items[i], user_sums[u], item_sums[i], slope, none, none, rate)


@compiled
def _dot(a: Float32, b: Float32) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@compiled
def _step(
    u: Float32, v: Float32, u_sums: Float32, v_sums: Float32, slope: np.float32, u_ridge: np.float32, v_ridge: np.float32, rate: np.float32
) -> None:  # fmt: skip
    """One step of a pair; slope: half the loss's derivative by the score."""
    for d in range(len(u)):
        u_gradient, v_gradient = slope * v[d] + u_ridge * u[d], slope * u[d] + v_ridge * v[d]
        u_sums[d] += u_gradient * u_gradient
        v_sums[d] += v_gradient * v_gradient
        u[d] -= rate * u_gradient / np.sqrt(u_sums[d])
        v[d] -= rate * v_gradient / np.sqrt(v_sums[d])
