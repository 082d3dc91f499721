"""The table of the ranker: each head on the showings of the test window, ordering and calibration side by side.

A probability head is judged by AUC, GAUC, log loss, calibration error (10 and 20 equal-mass bins) and PCOC; a seconds head by RMSE, MAE, XAUC, GXAUC and the
mean ratio, because MAE alone rewards predicting the median. Intervals resample viewers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Bool, Estimate, Float64, Int64
from upnext.evaluate import binary, regression
from upnext.evaluate.bootstrap import bootstrap, ratio, user_rows
from upnext.evaluate.figures import figure_text, figures_json, point
from upnext.evaluate.quotient import quotient

TABLE = (
    "n_rows", "mean_label", "auc", "gauc", "log_loss", "ece", "pcoc", "mean_prediction", "rmse", "mae",
    "xauc", "gxauc", "mean_ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """What happened and what was predicted, n rows; a NaN label (not labelled for this head) leaves its row out."""

    label: Array  # [n] 0 or 1, or seconds
    prediction: Array  # [n] a probability, or seconds
    kind: Literal["probability", "seconds"] = "probability"


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One head: its figures, and its figures in each segment (without intervals)."""

    kind: str
    figures: Mapping[str, Estimate]
    segments: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, slots=True)
class RankerReport:
    """All heads on one window."""

    heads: Mapping[str, HeadRow]
    n_rows: int
    n_users: int
    about: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The report as plain values; the keys are those of docs/evaluate.md."""
        return {
            "about": dict(self.about),
            "n_rows": self.n_rows,
            "n_users": self.n_users,
            "heads": {name: _head_json(head) for name, head in self.heads.items()},
        }

    def to_rows(self, columns: tuple[str, ...] = TABLE) -> list[dict[str, str]]:
        """One dict per head: "head", then every column as text, "" where the head's kind has no such figure."""
        return [{"head": name} | _cells(head, columns) for name, head in self.heads.items()]


def evaluate_ranker(
    heads: Mapping[str, Head],
    user: Array,
    *,
    duration_s: Array | None = None,
    segments: Mapping[str, Bool] | None = None,
    n_resamples: int = 200,
    seed: int = 0,
    about: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> RankerReport:
    """The report of the heads over n showings; user: any keys [n]; duration_s float[n] (NaN unknown); segments: masks bool[n].

    Raises InvalidInput for a head or a segment of another length, or a prediction that is not finite."""
    rows, n_users = user_rows(user)
    segments, progress = segments or {}, progress or NoProgress()
    _check(heads, segments, len(rows))
    progress.start("evaluate heads", len(heads), "heads")
    judged: dict[str, HeadRow] = {}
    for name, head in heads.items():
        judged[name] = _judge(head, rows, duration_s, segments, n_resamples, seed)
        progress.advance(1)
    progress.done()
    return RankerReport(judged, len(rows), n_users, dict(about or {}))


def _judge(
    head: Head,
    user: Int64,
    duration_s: Array | None,
    segments: Mapping[str, Bool],
    n_resamples: int,
    seed: int,
) -> HeadRow:
    has_label = ~np.isnan(np.asarray(head.label, np.float64))
    label = np.asarray(head.label, np.float64)
    prediction = np.asarray(head.prediction, np.float64)
    measured = _probability if head.kind == "probability" else _seconds
    points = _points_of_probability if head.kind == "probability" else _points_of_seconds
    viewer, _ = user_rows(user[has_label])
    figures = measured(label[has_label], prediction[has_label], viewer, n_resamples, seed)
    if head.kind == "seconds" and duration_s is not None:
        known = has_label & np.isfinite(duration_s)
        value = regression.xauc_within_duration(label[known], prediction[known], duration_s[known])
        figures["xauc_within_duration"] = point(value, int(known.sum()))
    apart = {}
    for name, mask in segments.items():
        rows = mask & has_label
        apart[name] = points(label[rows], prediction[rows], user_rows(user[rows])[0])
    return HeadRow(head.kind, figures, apart)


def _probability(
    label: Float64, prediction: Float64, user: Int64, n_resamples: int, seed: int
) -> dict[str, Estimate]:
    n_users = binary.n_viewers(user)
    losses = binary.log_losses(label, prediction)
    grouped = binary.gauc(label, prediction, user)
    total = _summing(user, n_users)
    ones, promised, rows = total(label), total(prediction), total(np.ones(len(label)))
    options = {"n_resamples": n_resamples, "seed": seed}
    return {
        "n_rows": point(len(label), n_users),
        "mean_label": ratio(ones, rows, **options),
        "auc": binary.auc_interval(label, prediction, user, **options),
        "gauc": _grouped(grouped, options),
        "log_loss": ratio(total(losses), rows, **options),
        "ece": binary.ece_interval(label, prediction, user, n_bins=10, **options),
        "ece_20": binary.ece_interval(label, prediction, user, n_bins=20, **options),
        "pcoc": ratio(promised, ones, **options),
        "mean_prediction": ratio(promised, rows, **options),
    }


def _seconds(
    label: Float64, prediction: Float64, user: Int64, n_resamples: int, seed: int
) -> dict[str, Estimate]:
    n_users = binary.n_viewers(user)
    total = _summing(user, n_users)
    error, rows = prediction - label, total(np.ones(len(label)))
    squares, watched, promised = total(np.square(error)), total(label), total(prediction)
    options = {"n_resamples": n_resamples, "seed": seed}
    return {
        "n_rows": point(len(label), n_users),
        "mean_label": ratio(watched, rows, **options),
        "rmse": bootstrap(lambda w: np.sqrt(quotient(w @ squares, w @ rows)), n_users, **options),
        "mae": ratio(total(np.abs(error)), rows, **options),
        "xauc": regression.xauc_interval(label, prediction, user, **options),
        "gxauc": _grouped(regression.gxauc(label, prediction, user), options),
        "mean_ratio": ratio(promised, watched, **options),
        "mean_prediction": ratio(promised, rows, **options),
    }


def _points_of_probability(label: Float64, prediction: Float64, user: Int64) -> dict[str, Estimate]:
    grouped = binary.gauc(label, prediction, user)
    values = {
        "n_rows": float(len(label)),
        "mean_label": float(label.mean()) if len(label) else float("nan"),
        "auc": binary.auc(label, prediction),
        "gauc": grouped.value,
        "log_loss": binary.log_loss(label, prediction),
        "pcoc": binary.pcoc(label, prediction),
    }
    return {name: point(value, binary.n_viewers(user)) for name, value in values.items()}


def _points_of_seconds(label: Float64, prediction: Float64, user: Int64) -> dict[str, Estimate]:
    values = {
        "n_rows": float(len(label)),
        "mean_label": float(label.mean()) if len(label) else float("nan"),
        "rmse": regression.rmse(label, prediction),
        "mae": regression.mae(label, prediction),
        "xauc": regression.xauc(label, prediction),
        "gxauc": regression.gxauc(label, prediction, user).value,
        "mean_ratio": regression.mean_ratio(label, prediction),
    }
    return {name: point(value, binary.n_viewers(user)) for name, value in values.items()}


def _grouped(grouped: binary.Grouped, options: dict[str, int]) -> Estimate:
    counted = (
        grouped.weight > 0
    )  # n of the figure: the viewers that count, as in "GAUC (3,574 users)"
    return ratio(grouped.weighted[counted], grouped.weight[counted], **options)


def _summing(user: Int64, n_users: int) -> Callable[[Array], Float64]:
    return lambda values: np.bincount(user, values, minlength=n_users).astype(np.float64)


def _check(heads: Mapping[str, Head], segments: Mapping[str, Bool], n_rows: int) -> None:
    for name, head in heads.items():
        if len(head.label) != n_rows or len(head.prediction) != n_rows:
            raise expected(
                f"head {name!r}", f"{n_rows} rows", (len(head.label), len(head.prediction))
            )
        if not np.isfinite(head.prediction).all():
            raise expected(f"head {name!r}", "finite predictions", "NaN or infinity")
    for name, mask in segments.items():
        if len(mask) != n_rows:
            raise expected(f"segment {name!r}", f"bool[{n_rows}]", len(mask))


def _head_json(head: HeadRow) -> dict[str, object]:
    return {
        "kind": head.kind,
        "figures": figures_json(head.figures),
        "segments": {name: figures_json(figures) for name, figures in head.segments.items()},
    }


def _cells(head: HeadRow, columns: tuple[str, ...]) -> dict[str, str]:
    cells = {}
    for column in columns:
        figure = head.figures.get(column)
        digits = 0 if column == "n_rows" else 4
        cells[column] = "" if figure is None else figure_text(figure, digits)
    return cells
