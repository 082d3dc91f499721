"""WARP: a positive is pushed over a negative that outranks it, the harder the deeper it seems to stand (Weston, Bengio, Usunier 2011, WSABIE).

A viewer is the mean of the input vectors of the own positive videos, the one to be predicted left out. Of the videos that are no
positives of the viewer, V - |S| of them, some are drawn until one scores over the positive less the margin, after N draws; the positive's rank is
estimated as floor((V - |S|) / N) and the step weighs Phi(rank) = 1 + 1/2 + ... + 1/rank. The estimate is biased upwards: a violator's share p
of the videos gives (V - |S|) p ln(1/p) / (1 - p) in expectation, before it is floored. Every vector's length is bounded, as in the paper.
Viewers come one after the other, in an order drawn anew each epoch; a viewer's input vectors move once all own positives have been visited.
"""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled, compiled_sums
from upnext.core.types import Array, Float32, Float64, Int64
from upnext.retrieval.factorisation.draws import draw_below

_START = np.float32(1e-2)  # of Adagrad's sums


def harmonic(n: int) -> Float64:
    """float64[n + 1]: Phi, the loss of each rank from 0 on."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])


def first_sums(n_items: int) -> Float32:
    """Adagrad's sums before the first step, one per vector: input vectors, then item vectors, float32[2, i]."""
    return np.full((2, n_items), _START)


@compiled
def warp_epoch(
    order: Int64, start: Int64, item_id: Int64, weight: Float32, inputs: Float32, items: Float32, sums: Float32,
    phi: Float64, margin: float, max_draws: int, max_norm: float, rate: float, state: Array,
) -> tuple[int, float]:  # fmt: skip
    """(positives that were outranked, sum of their losses) of one pass over the viewers in `order`, whose positives are start[j] to start[j + 1]."""
    owner = np.full(len(items), -1, np.int64)
    size = items.shape[1]
    total, viewer, pull = (
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
    )
    n_outranked, loss = 0, 0.0
    for user in order:
        own = item_id[start[user] : start[user + 1]]
        if len(own) < 2 or len(own) >= len(items):
            continue
        total[:] = 0
        for item in own:
            owner[item] = user
            total += inputs[item]
        pull[:] = 0
        share = np.float32(1 / (len(own) - 1))
        for place in range(len(own)):
            liked = own[place]
            for d in range(size):
                viewer[d] = (total[d] - inputs[liked, d]) * share
            bar = float(dot(viewer, items[liked])) - margin
            other, n_draws = draw_violator(viewer, items, owner, user, bar, max_draws, state)
            if other < 0:
                continue
            rank = (len(items) - len(own)) // n_draws
            strength = np.float32(phi[rank] * weight[start[user] + place])
            n_outranked += 1
            loss += float(strength * (dot(viewer, items[other]) - bar))
            for d in range(size):
                pull[d] += strength * share * (items[liked, d] - items[other, d])
            _move(items[liked], sums[1], liked, viewer, strength, rate, max_norm)
            _move(items[other], sums[1], other, viewer, -strength, rate, max_norm)
        for item in own:
            _move(inputs[item], sums[0], item, pull, np.float32(1), rate, max_norm)
    return n_outranked, loss


@compiled
def draw_violator(
    viewer: Float32,
    items: Float32,
    owner: Int64,
    user: int,
    bar: float,
    max_draws: int,
    state: Array,
) -> tuple[np.int64 | int, int]:
    """(a video that is not the viewer's own and scores over `bar`, after how many draws); (-1, max_draws) when none came up.

    owner int64[i]: the last viewer whose own video each was; there has to be one that is not this viewer's."""
    n_draws = 0
    while n_draws < max_draws:
        item = draw_below(state, len(items))
        if owner[item] == user:
            continue  # no draw: a positive is never a negative
        n_draws += 1
        if dot(viewer, items[item]) > bar:
            return item, n_draws
    return -1, n_draws


@compiled_sums
def dot(a: Float32, b: Float32) -> np.float32:
    """The inner product."""
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@compiled
def _move(
    vector: Float32,
    sums: Float32,
    row: np.int64 | int,
    direction: Float32,
    strength: np.float32,
    rate: float,
    max_norm: float,
) -> None:
    """An Adagrad step with one sum of squares per vector, back into the ball."""
    squared = strength * strength * dot(direction, direction)
    if squared == 0:
        return
    sums[row] += squared / len(vector)
    step = np.float32(rate / np.sqrt(sums[row]) * strength)
    for d in range(len(vector)):
        vector[d] += step * direction[d]
    norm = np.sqrt(dot(vector, vector))
    if norm > max_norm:
        vector *= np.float32(max_norm / norm)
