"""The calibration of every task, and metrics that it has not seen: each half of the groups judged with the calibration of the other half."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Float32
from upnext.ranking.calibration import platt
from upnext.ranking.config import RankingConfig
from upnext.ranking.ranker_metrics import in_units, metrics_of
from upnext.ranking.rows import RankerRows, folds_of
from upnext.ranking.tasks import kind_of

PRIOR_ROWS = 100.0  # that a calibration of before stands for


@dataclass(frozen=True)
class Calibration:
    """output -> scale * output + shift, per task, before sigmoid or exp."""

    scale: Float32  # [t]
    shift: Float32  # [t]


def calibrate(
    output: Float32,
    label: Float32,
    weight: Float32,
    tasks: tuple[str, ...],
    config: RankingConfig,
    before: Calibration | None = None,
) -> Calibration:
    """Platt's line per binary task, one factor per task in seconds, of outputs float32[m, t].

    before: a calibration that stands where the rows say little: as much as PRIOR_ROWS rows do."""
    scale, shift = np.ones(len(tasks), np.float32), np.zeros(len(tasks), np.float32)
    pull, prior_rows = (1e-3, 0.0) if before is None else (PRIOR_ROWS, PRIOR_ROWS)
    if before is not None:
        output = output * before.scale + before.shift
    for k, task in enumerate(tasks):
        known = ~np.isnan(label[:, k])
        f, y, w = output[known, k], label[known, k], weight[known]
        if kind_of(task) == "binary":
            scale[k], shift[k] = platt(f, y, w, pull=pull)
            continue
        predicted = np.exp(np.minimum(f.astype(np.float64), math.log(config.watch_cap_s)))
        total, expected_s = float((w * y).sum()), float((w * predicted).sum())
        if total > 0:
            prior = prior_rows * expected_s / float(w.sum())
            shift[k] = math.log((total + prior) / (expected_s + prior))
    if before is not None:
        scale, shift = scale * before.scale, scale * before.shift + shift
    return Calibration(scale, shift)


def cross_fitted(
    output: Float32,
    label: Float32,
    rows: RankerRows,
    tasks: tuple[str, ...],
    config: RankingConfig,
    before: Calibration | None = None,
) -> dict[str, float]:
    """{"<task>.<metric>": value} of the rows, outputs and labels float32[m, t]; before: as in `calibrate`."""
    half = folds_of(rows.group, 2) == 1
    prediction = np.zeros_like(output)
    for side in (False, True):
        fit, use = half != side, half == side
        c = calibrate(output[fit], label[fit], rows.weight[fit], tasks, config, before)
        said = output[use] * c.scale + c.shift
        prediction[use] = in_units(said, tasks, config.watch_cap_s)
    return metrics_of(prediction, label, rows.weight, rows.group, tasks)
