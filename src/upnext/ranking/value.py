"""One number per candidate: hand-set weights times the predictions (Zhao et al. 2019, section 4.2.2).

A binary task counts as its probability. A task in seconds counts as log(1 + s) / log(1 + 600), s cut at 600, so that it lies in
[0, 1] like a probability, and the difference of 5 and 10 seconds counts as much as that of 50 and 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from upnext.core.types import Float32, Predictions, Query
from upnext.ranking.tasks import kind_of

WATCH_CAP_S = 600.0
_PER_LOG_SECOND = 1 / np.log1p(WATCH_CAP_S)


def value_of(query: Query, predictions: Predictions, weights: Mapping[str, float]) -> Float32:
    """float32[n]: sum over tasks of weight * prediction; a weight of a task that is not predicted has no effect."""
    del query  # weights are the surface's already; arms of an experiment replace them before
    parts = contributions(predictions.tasks, predictions.values, weights)
    value = np.zeros(len(predictions.values), np.float32)
    for part in parts.values():
        value += part
    return value


def contributions(
    tasks: Sequence[str], predictions: Float32, weights: Mapping[str, float]
) -> dict[str, Float32]:
    """{task: float32[n]}: each task's part of the value, of predictions float32[n, t]."""
    parts: dict[str, Float32] = {}
    for i, task in enumerate(tasks):
        weight = weights.get(task, 0.0)
        if weight == 0.0:
            continue
        column = predictions[:, i]
        if kind_of(task) == "seconds":
            column = np.log1p(np.clip(column, 0, WATCH_CAP_S)) * np.float32(_PER_LOG_SECOND)
        parts[task] = (weight * column).astype(np.float32, copy=False)
    return parts
