"""The merge's weights: a logistic regression of relevance on the blend's columns, by Newton's method.

Few columns and many rows: exact in a handful of steps, deterministic, and small enough to read in blend.json.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float32, Float64
from upnext.pipeline.blend import COLUMNS

STEPS = 25
REG = 1e-3


def fit_blend(rows: Float32, label: Float32, weight: Float32) -> dict[str, float]:
    """{column: weight} of rows float32[m, len(COLUMNS)], label 0 or 1 float32[m], weight float32[m].

    A column that never varies gets 0. The intercept is left out: only the order matters."""
    x = rows.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    varies = scale > 1e-9
    z = np.where(varies, (x - mean) / np.where(varies, scale, 1.0), 0.0)
    z = np.hstack([z, np.ones((len(z), 1))])
    w = weight.astype(np.float64) / weight.sum()
    beta: Float64 = np.zeros(z.shape[1])
    ridge = np.append(np.full(len(COLUMNS), REG), 0.0)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        gradient = z.T @ (w * (label - p)) - ridge * w.mean() * beta
        curvature = np.maximum(w * p * (1 - p), 1e-15)
        hessian = (z * curvature[:, None]).T @ z + np.diag(ridge * w.mean() + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    found = np.where(varies, beta[:-1] / np.where(varies, scale, 1.0), 0.0)
    return dict(zip(COLUMNS, found.tolist(), strict=True))
