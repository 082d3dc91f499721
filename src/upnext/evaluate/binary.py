"""How well probabilities order and match what happened: AUC, GAUC, log loss, calibration error, PCOC.

label is 0 or 1, prediction a probability, both [n] rows aligned with user [n]. GAUC (Zhu et al. 2017) is the mean of AUC inside each
viewer, weighted by the viewer's impressions, over viewers with both classes; it fixes each viewer's total, so a running rate of the
viewer as a feature points the wrong way and is punished (BARS reports it beside AUC). Calibration bins hold equal numbers of rows;
rows with equal predictions share a bin, so row order never matters. PCOC = sum(prediction) / sum(label).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate.bootstrap import bootstrap
from upnext.evaluate.pair_order import PairOrder
from upnext.evaluate.quotient import quotient

SMALLEST = (
    1e-7  # predictions are held this far from 0 and 1 in the log loss: a float32 holds 1 - 6e-8
)


@dataclass(frozen=True, slots=True)
class Grouped:
    """A mean inside viewers: the value, over how many viewers, and the parts that a bootstrap needs."""

    value: float
    n_users: int
    weighted: Float64  # [u] impressions * value; 0 for a viewer who doesn't count
    weight: Float64  # [u] impressions; 0 for a viewer who doesn't count


def auc(label: Array, prediction: Array) -> float:
    """The share of (1, 0) pairs in the right order, ties one half; NaN with one class only."""
    _check(label, prediction)
    return float(PairOrder(label, prediction).count().share()[0, 0])


def gauc(label: Array, prediction: Array, user: Int64) -> Grouped:
    """AUC inside each viewer, weighted by impressions, over viewers with both classes; user int64[n] in 0 .. u-1."""
    _check(label, prediction)
    return grouped_order(label, prediction, user)


def grouped_order(truth: Array, prediction: Array, user: Int64) -> Grouped:
    """The share of right pairs inside each viewer, weighted by rows, over viewers with two different truths."""
    share = PairOrder(truth, prediction, user).count().share()[0]
    has_pair = np.isfinite(share)
    weight = np.bincount(user, minlength=len(share)) * has_pair
    weighted = np.where(has_pair, share, 0.0) * weight
    value = float(weighted.sum() / weight.sum()) if weight.any() else float("nan")
    return Grouped(value, int(has_pair.sum()), weighted, weight.astype(np.float64))


def auc_interval(
    label: Array, prediction: Array, user: Int64, *, n_resamples: int = 200, seed: int = 0
) -> Estimate:
    """AUC with its interval; viewers are resampled with all their rows, which are sorted once."""
    _check(label, prediction)
    order = np.argsort(prediction, kind="stable")
    score, viewer, is_one = np.asarray(prediction)[order], user[order], np.asarray(label)[order] > 0
    start = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]])[: len(score)])

    def statistic(counts: Float64) -> Array:
        rows = counts[:, viewer]
        ones = np.add.reduceat(np.where(is_one, rows, 0.0), start, axis=1)
        zeros = np.add.reduceat(rows, start, axis=1) - ones
        right = (ones * (np.cumsum(zeros, axis=1) - zeros / 2)).sum(1)
        n_pairs = ones.sum(1) * zeros.sum(1)
        return quotient(right, n_pairs)

    return bootstrap(statistic, n_viewers(user), n_resamples=n_resamples, seed=seed)


def log_losses(label: Array, prediction: Array) -> Float64:
    """float64[n]: -log of the probability given to what happened, predictions held SMALLEST from 0 and 1."""
    _check(label, prediction)
    p = np.clip(np.asarray(prediction, np.float64), SMALLEST, 1 - SMALLEST)
    return -np.where(np.asarray(label) > 0, np.log(p), np.log1p(-p))


def log_loss(label: Array, prediction: Array) -> float:
    """The mean log loss; NaN without rows."""
    return float(log_losses(label, prediction).mean()) if len(label) else float("nan")


def mass_bins(prediction: Array, n_bins: int) -> Int64:
    """int64[n]: the bin, 0 .. n_bins-1, of each row; bins of equal numbers of rows, tied predictions by their middle rank."""
    _, inverse, counts = np.unique(prediction, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    bins = np.floor(middle * n_bins / max(1, len(prediction))).astype(np.int64)
    return np.asarray(np.minimum(bins, n_bins - 1)[inverse], np.int64)


def ece(label: Array, prediction: Array, n_bins: int = 10) -> float:
    """Expected calibration error over equal-mass bins: the mean over rows of |mean prediction - mean label| of the row's bin."""
    _check(label, prediction)
    if not len(label):
        return float("nan")
    gap = np.asarray(prediction, np.float64) - label
    return float(np.abs(np.bincount(mass_bins(prediction, n_bins), gap)).sum() / len(label))


def ece_interval(
    label: Array,
    prediction: Array,
    user: Int64,
    *,
    n_bins: int = 10,
    n_resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """ECE with its interval, bins as they are in all rows. Resampling adds noise to every bin, so the interval lies high."""
    _check(label, prediction)
    n_users = n_viewers(user)
    gap = np.asarray(prediction, np.float64) - label
    cell = user * n_bins + mass_bins(prediction, n_bins)
    gaps = np.bincount(cell, gap, minlength=n_users * n_bins).reshape(n_users, n_bins)
    rows = np.bincount(user, minlength=n_users).astype(np.float64)
    return bootstrap(
        lambda w: np.abs(w @ gaps).sum(1) / (w @ rows), n_users, n_resamples=n_resamples, seed=seed
    )


def pcoc(label: Array, prediction: Array) -> float:
    """sum(prediction) / sum(label): above 1 promises too much; NaN when nothing happened."""
    total = float(np.sum(label))
    return float(np.sum(prediction, dtype=np.float64) / total) if total else float("nan")


def n_viewers(user: Int64) -> int:
    """u of user int64[n] in 0 .. u-1."""
    return int(user.max()) + 1 if len(user) else 0


def _check(label: Array, prediction: Array) -> None:
    if len(label) != len(prediction):
        raise expected("prediction", f"{len(label)} rows", len(prediction))
    if not np.isin(label, (0, 1)).all():
        raise expected("label", "0 or 1", np.unique(label)[:5].tolist())
