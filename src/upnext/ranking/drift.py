"""How the newest rows differ from those that a ranker learned from: its columns, and what its heads had said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from upnext.core.types import Array, Float32
from upnext.ranking.calibration import ece, pcoc
from upnext.ranking.tasks import kind_of

WORTH_SAYING: Final = 1.0  # deviations that a column's mean moved


def column_drift(
    rows: Float32, mean: Float32, scale: Float32, names: Sequence[str]
) -> dict[str, float]:
    """{column: deviations that its mean moved}, largest first, of rows float32[m, f] against the mean and 1 / deviation float32[f] of before.

    Columns that had no spread (scale 0) or that no row knows are left out."""
    known = (scale > 0) & ~np.isnan(rows).all(axis=0)
    moved = (np.nanmean(rows[:, known], axis=0, dtype=np.float64) - mean[known]) * scale[known]
    order = np.argsort(-np.abs(moved), kind="stable")
    told = [name for name, is_known in zip(names, known, strict=True) if is_known]
    return {told[i]: float(moved[i]) for i in order}


def head_drift(
    prediction: Float32, label: Float32, weight: Array, tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """{task: mean label, mean prediction, their ratio ("pcoc") and, of probabilities, the calibration error}, of predictions and labels float32[m, t] where the label is known."""
    found = {}
    for k, task in enumerate(tasks):
        known = ~np.isnan(label[:, k])
        if not known.any():
            continue
        p, y, w = (v[known].astype(np.float64) for v in (prediction[:, k], label[:, k], weight))
        found[task] = {
            "label": float(np.average(y, weights=w)),
            "prediction": float(np.average(p, weights=w)),
            "pcoc": pcoc(p, y, w),
        }
        if kind_of(task) == "binary":
            found[task]["ece"] = ece(p, y, w)
    return found


def drift_notes(drift: Mapping[str, Any]) -> list[str]:
    """What a person should know of a report {"columns", "heads"}: columns that moved far, heads that were off by more than a tenth."""
    far = [f"{name} {by:+.1f}" for name, by in drift["columns"].items() if abs(by) >= WORTH_SAYING]
    notes = []
    if far:
        more = f", and {len(far) - 5} more" if len(far) > 5 else ""
        notes.append(f"drift, deviations that columns moved: {', '.join(far[:5])}{more}")
    off = [
        f"{task} {head['pcoc']:.2f}"
        for task, head in drift["heads"].items()
        if np.isfinite(head["pcoc"]) and abs(head["pcoc"] - 1) > 0.1
    ]
    if off:
        notes.append(f"drift, predicted over happened before this training: {', '.join(off)}")
    return notes
