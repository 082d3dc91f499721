"""From a video's content to its factors: ridge regression, for videos that nobody was shown in training.

The videos that were shown teach it, each with the weight n / (n + 10) of its n viewers, for a factor row of few viewers is mostly its ridge. The
strength is not a setting: of a grid, the one with the least leave-one-out error, which ridge regression has in closed form (Allen 1974).
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Float32, Float64

_HALF = 10.0  # viewers that give a video half of a full vote
_STRENGTHS = 10.0 ** np.arange(-4, 3)  # relative to the mean eigenvalue


def content_map(content: Float32, factors: Float32, n_viewers: Array) -> Float32:
    """float32[c + 1, d]: factors of a video = (its content float32[c], 1) times this.

    content float32[i, c], factors float32[i, d], n_viewers [i]; rows of none teach nothing. Zeros where fewer than two teach."""
    taught = np.flatnonzero(n_viewers > 0)
    if len(taught) < 2:
        return np.zeros((content.shape[1] + 1, factors.shape[1]), np.float32)
    root = np.sqrt(n_viewers[taught] / (n_viewers[taught] + _HALF))[:, None]
    x = with_one(content[taught]).astype(np.float64) * root
    y = factors[taught].astype(np.float64) * root
    values, basis = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0)
    turned, answered = x @ basis, basis.T @ (x.T @ y)
    strengths = _STRENGTHS * values.mean()
    errors = [_left_out_error(turned, answered, y, values, s) for s in strengths]
    best = strengths[int(np.argmin(errors))]
    found: Float32 = (basis @ (answered / (values + best)[:, None])).astype(np.float32)
    return found


def with_one(content: Float32) -> Float32:
    """float32[n, c + 1]: the content and a column of ones."""
    return np.concatenate([content, np.ones((len(content), 1), np.float32)], 1)


def _left_out_error(
    turned: Float64, answered: Float64, y: Float64, values: Float64, strength: float
) -> float:
    """The squared error of each row predicted by all others."""
    leverage = (turned**2 / (values + strength)).sum(1)
    residual = y - turned @ (answered / (values + strength)[:, None])
    return float(((residual / (1 - leverage)[:, None]) ** 2).sum())
