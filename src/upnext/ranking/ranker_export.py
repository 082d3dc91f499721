"""A trained ranker as a folder that serving reads: ranker.onnx, perhaps ranker.int8.onnx, and ranker.json.

The int8 graph serves only if it predicts as well on held-out rows: no head's AUC falls by .0005, and the order of the
default value stays (Spearman above .998). Otherwise the float32 graph does, and ranker.json says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upnext.core.types import Float32, Predictions
from upnext.ranking.calibration import auc, spearman
from upnext.ranking.config import DEFAULT_WEIGHTS
from upnext.ranking.onnx_ranker import MANIFEST, OnnxRanker
from upnext.ranking.ranker_graph import RankerWeights, quantise, write_graph
from upnext.ranking.rows import RankerRows
from upnext.ranking.tasks import kind_of
from upnext.ranking.value import contributions

FLOAT_FILE, INT8_FILE = "ranker.onnx", "ranker.int8.onnx"
MOST_AUC_LOSS = 0.0005
LEAST_SPEARMAN = 0.998
PARITY_ROWS = 20_000
LEAST_POSITIVES = 30


def export_ranker(
    folder: Path,
    weights: RankerWeights,
    held_out: RankerRows,
    *,
    int8: bool = True,
    said: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the folder and returns ranker.json's content; `said` is added to it (metrics, notes, calibration, window).

    Needs the `train` extra."""
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(weights, folder / FLOAT_FILE)
    manifest: dict[str, Any] = {
        "version": 1,
        "file": FLOAT_FILE,
        "tasks": list(weights.tasks),
        "kinds": [kind_of(task) for task in weights.tasks],
        "user_names": list(held_out.user_names),
        "item_names": list(held_out.item_names),
        "watch_cap_s": weights.watch_cap_s,
        "int8": {"serves": False, "reason": "switched off"},
        **(said or {}),
    }
    _write(folder, manifest)
    if int8:
        quantise(folder / FLOAT_FILE, folder / INT8_FILE)
        verdict = parity(folder, manifest, held_out)
        manifest["int8"] = verdict
        if verdict["serves"]:
            manifest["file"] = INT8_FILE
        else:
            (folder / INT8_FILE).unlink()
        _write(folder, manifest)
    return manifest


def parity(folder: Path, manifest: Mapping[str, Any], rows: RankerRows) -> dict[str, Any]:
    """{"serves", "reason", "auc_loss" {task: ...}, "spearman"}: float32 against int8 on at most 20,000 rows."""
    step = math.ceil(len(rows) / PARITY_ROWS) if len(rows) else 1
    rows = rows.take(np.arange(0, len(rows), step))
    predictions = []
    for name in (FLOAT_FILE, INT8_FILE):
        _write(folder, {**manifest, "file": name})
        predictions.append(OnnxRanker.load(folder).predict_rows(rows.user, rows.items))
    tasks = tuple(manifest["tasks"])
    auc_loss = _auc_losses(predictions[0], predictions[1], rows, tasks)
    rank_correlation = (
        spearman(*(_default_value(tasks, p) for p in predictions)) if len(rows) else 1.0
    )
    reasons = [
        f"AUC of {task} falls by {loss:.4f}"
        for task, loss in auc_loss.items()
        if loss >= MOST_AUC_LOSS
    ]
    if rank_correlation <= LEAST_SPEARMAN:
        reasons.append(f"order of values: Spearman {rank_correlation:.5f}")
    if len(rows) == 0:
        reasons.append("no held-out rows to compare on")
    return {
        "serves": not reasons,
        "reason": "; ".join(reasons) or "predicts as well as float32 on held-out rows",
        "auc_loss": auc_loss,
        "spearman": rank_correlation,
    }


def _auc_losses(
    before: Float32, after: Float32, rows: RankerRows, tasks: tuple[str, ...]
) -> dict[str, float]:
    losses = {}
    for k, task in enumerate(tasks):
        label = rows.labels.get(task)
        if label is None or kind_of(task) != "binary":
            continue
        known = ~np.isnan(label)
        y, w = label[known], rows.weight[known]
        if min((y > 0.5).sum(), (y <= 0.5).sum()) < LEAST_POSITIVES:
            continue
        losses[task] = auc(before[known, k], y, w) - auc(after[known, k], y, w)
    return losses


def _default_value(tasks: tuple[str, ...], predictions: Float32) -> Float32:
    parts = contributions(tasks, Predictions(tasks, predictions).values, DEFAULT_WEIGHTS)
    value = np.zeros(len(predictions), np.float32)
    for part in parts.values():
        value += part
    return value if parts else predictions[:, 0]


def _write(folder: Path, manifest: Mapping[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
