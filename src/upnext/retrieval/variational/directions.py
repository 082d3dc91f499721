"""From a viewer's mean and stdev to the query vectors of a request, and what a score varies by. No torch here.

uniform: vec[i] = mean + d[i] * stdev with one d[i] ~ U(0, 1) for the whole vector: design E's rule, as it stands.
signs, normal: d[i] is a vector, of random signs or N(0, I); the first query is the mean itself, so the others only add.
optimistic: the score plus its variance as one inner product: a video is [mu_v, sigma_v^2], a viewer [mu_u, mu_u^2 + sigma_u^2], which is the
part of the variance that depends on the video's own. Exploration goes to videos that little is known of.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float32
from upnext.retrieval.variational.config import Directions, VariationalConfig


def query_vectors(
    mean: Float32, stdev: Float32, config: VariationalConfig, rng: np.random.Generator
) -> Float32:
    """float32[q, d] of one viewer's mean and stdev float32[d]; float32[1, 2 d] where optimistic."""
    if config.directions == "mean":
        return mean[None]
    if config.directions == "optimistic":
        return np.concatenate([mean, config.optimism * (mean**2 + stdev**2)])[None]
    shape = (config.n_queries, len(mean))
    if config.directions == "uniform":
        step = rng.random((config.n_queries, 1), np.float32)
    elif config.directions == "signs":
        step = 2 * rng.integers(0, 2, shape).astype(np.float32) - 1
        step[0] = 0
    else:
        step = rng.standard_normal(shape, np.float32)
        step[0] = 0
    found: Float32 = mean + step * stdev
    return found


def video_vectors(mean: Float32, stdev: Float32, directions: Directions) -> Float32:
    """float32[n, d], or float32[n, 2 d] where optimistic: what the index holds of n videos' mean and stdev float32[n, d]."""
    return np.hstack([mean, stdev**2]) if directions == "optimistic" else mean


def score_variance(
    viewer_mean: Float32, viewer_stdev: Float32, video_mean: Float32, video_stdev: Float32
) -> Float32:
    """float32[n]: the variance of u . v for one viewer float32[d] and n independent videos float32[n, d].

    Var = sum of mu_u^2 sigma_v^2 + mu_v^2 sigma_u^2 + sigma_u^2 sigma_v^2 over dimensions (METHODS F1)."""
    viewer, video = viewer_stdev**2, video_stdev**2
    variance: Float32 = video @ (viewer_mean**2 + viewer) + video_mean**2 @ viewer
    return variance
