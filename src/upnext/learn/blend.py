"""The merge's weights: a conditional logistic regression of relevance on the blend's columns, by Newton's method.

Every request is one choice among its own candidates (McFadden 1974): the loss of a request is the mean of -log softmax(rows @ weights) over
its relevant rows. What all candidates of a request share, how busy the viewer is or how much of the day is left, cancels and can't be mistaken for
something that tells candidates apart. Few columns and many rows: exact in a handful of steps, deterministic, and small enough to read
in blend.json.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.core.types import Float32, Float64, Int64

STEPS = 50
LONGEST_STEP = (
    2.0  # of a standardised column's weight: Newton's method overshoots where rows are separable
)
REG = 0.1  # of half the squared weights of standardised columns, beside the sum of all requests' losses


def fit_blend(
    rows: Float32, label: Float32, request: Int64, names: Sequence[str]
) -> dict[str, float]:
    """{column: weight} of rows float32[m, len(names)], label 0 or 1 float32[m], request int64[m] ascending from 0.

    Requests without a relevant row or with nothing else say nothing. A column that never varies gets 0."""
    x = rows.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    varies = scale > 1e-9
    z = np.where(varies, (x - mean) / np.where(varies, scale, 1.0), 0.0)
    n_relevant = np.bincount(request, label)
    share = label / np.maximum(n_relevant, 1)[request]
    told = n_relevant > 0
    n = max(1, int(told.sum()))
    beta: Float64 = np.zeros(z.shape[1])
    for _ in range(STEPS):
        p = _softmax(z @ beta, request) * told[request]
        expected = np.stack([np.bincount(request, p * column) for column in z.T], axis=1)
        gradient = (z.T @ (share - p) - REG * beta) / n
        hessian = ((z * p[:, None]).T @ z - expected.T @ expected + REG * np.eye(len(beta))) / n
        step = np.clip(np.linalg.solve(hessian, gradient), -LONGEST_STEP, LONGEST_STEP)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    found = np.where(varies, beta / np.where(varies, scale, 1.0), 0.0)
    return dict(zip(names, found.tolist(), strict=True))


def _softmax(score: Float64, request: Int64) -> Float64:
    """float64[m]: the softmax over the rows of each request, ascending from 0."""
    starts = np.flatnonzero(np.diff(request, prepend=-1))
    shifted = np.exp(score - np.maximum.reduceat(score, starts)[request])
    return np.asarray(shifted / np.add.reduceat(shifted, starts)[request], np.float64)
