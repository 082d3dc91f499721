"""How good predictions are on rows whose labels are known: order, loss and calibration per task."""

from __future__ import annotations

import math

import numpy as np

from upnext.core.types import Array, Float32
from upnext.ranking.calibration import auc, ece, group_auc, log_loss, pcoc, sigmoid
from upnext.ranking.tasks import kind_of


def in_units(output: Array, tasks: tuple[str, ...], watch_cap_s: float) -> Float32:
    """float32[m, t]: probabilities and seconds from outputs [m, t] before sigmoid and exp."""
    result = np.empty(output.shape, np.float32)
    for k, task in enumerate(tasks):
        if kind_of(task) == "binary":
            result[:, k] = sigmoid(output[:, k])
        else:
            result[:, k] = np.exp(np.minimum(output[:, k], math.log(watch_cap_s)))
    return result


def metrics_of(
    prediction: Float32, label: Float32, weight: Float32, group: Array, tasks: tuple[str, ...]
) -> dict[str, float]:
    """{"<task>.<metric>": value} over the rows whose label is known, predictions and labels float32[m, t].

    Binary: auc, gauc (mean of the groups' AUC by rows), log_loss, ece, pcoc. Seconds: mae, rmse, mean_ratio (predicted over true)."""
    result: dict[str, float] = {}
    for k, task in enumerate(tasks):
        known = ~np.isnan(label[:, k])
        if not known.any():
            continue
        p, y, w = (v[known].astype(np.float64) for v in (prediction[:, k], label[:, k], weight))
        if kind_of(task) == "binary":
            found = {
                "auc": auc(p, y, w),
                "gauc": group_auc(p, y, group[known]),
                "log_loss": log_loss(p, y, w),
                "ece": ece(p, y, w),
                "pcoc": pcoc(p, y, w),
            }
        else:
            found = {
                "mae": float(np.average(np.abs(p - y), weights=w)),
                "rmse": float(np.sqrt(np.average((p - y) ** 2, weights=w))),
                "mean_ratio": pcoc(p, y, w),
            }
        result |= {f"{task}.{name}": value for name, value in found.items()}
    return result
