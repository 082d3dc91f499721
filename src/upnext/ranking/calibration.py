"""Probabilities that mean what they say: Platt scaling, and how well predictions and outcomes agree (METHODS E).

Platt (1999): p = sigmoid(a * logit + b), a and b by weighted maximum likelihood. PCOC = sum of predictions / sum of outcomes,
1 at best. ECE = mean over 10 equally large buckets of |mean prediction - mean outcome|, weighted by size.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Float64

MIN_POSITIVES_FOR_SLOPE = 50


def platt(logit: Array, label: Array, weight: Array, *, pull: float = 1e-3) -> tuple[float, float]:
    """(a, b) of rows float[m]; a = 1 where fewer than 50 rows are of the rarer class, (1, 0) where one class is all.

    Newton's method with a pull to (1, 0), the precision of a normal prior around it: a faint one lets it end on separable rows too, a strong one is for
    logits that were calibrated before."""
    x, y, w = (np.asarray(v, np.float64) for v in (logit, label, weight))
    rarer = min(int((y > 0.5).sum()), int((y <= 0.5).sum()))
    if rarer == 0:
        return 1.0, 0.0
    w = w * (len(w) / w.sum())
    design = np.stack([x, np.ones_like(x)], axis=1)
    free = np.array([rarer >= MIN_POSITIVES_FOR_SLOPE, True])
    theta = np.array([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(design @ theta)
        gradient = design.T @ (w * (p - y)) + pull * (theta - np.array([1.0, 0.0]))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + pull * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        theta -= np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if theta[0] <= 0:  # a slope that would turn the order round is noise
        return 1.0, 0.0
    return float(theta[0]), float(theta[1])


def sigmoid(x: Array) -> Float64:
    """float64[m], without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64))), np.float64)


def log_loss(p: Array, label: Array, weight: Array) -> float:
    """Weighted mean of -log P(label), p cut at 1e-7."""
    q = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    loss = -(label * np.log(q) + (1 - label) * np.log1p(-q))
    return float((weight * loss).sum() / weight.sum())


def auc(score: Array, label: Array, weight: Array | None = None) -> float:
    """P(a positive scores above a negative), ties half, rows weighted; NaN without both classes."""
    w = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
    _, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, w * label)
    negative = np.bincount(place, w * (1 - np.asarray(label, np.float64)))
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def group_auc(score: Array, label: Array, group: Array) -> float:
    """Mean AUC of the groups that have both classes, weighted by their rows; NaN when none has."""
    order = np.lexsort((score, group))
    g, y, s = group[order], np.asarray(label, np.float64)[order], np.asarray(score)[order]
    if len(g) == 0:
        return float("nan")
    starts = np.flatnonzero(np.r_[True, g[1:] != g[:-1]])
    n = np.diff(np.r_[starts, len(g)])
    of_group = np.repeat(np.arange(len(starts)), n)
    # ranks inside a group, the mean rank where scores tie
    tie = np.cumsum(np.r_[True, (g[1:] != g[:-1]) | (s[1:] != s[:-1])]) - 1
    rank = np.arange(len(g)) - starts[of_group] + 1.0
    rank = (np.bincount(tie, rank) / np.bincount(tie))[tie]
    n_pos = np.bincount(of_group, y)
    n_neg = n - n_pos
    both = (n_pos > 0) & (n_neg > 0)
    if not both.any():
        return float("nan")
    rank_sum = np.bincount(of_group, rank * y)
    value = (rank_sum - n_pos * (n_pos + 1) / 2)[both] / (n_pos * n_neg)[both]
    return float((value * n[both]).sum() / n[both].sum())


def pcoc(predicted: Array, outcome: Array, weight: Array) -> float:
    """Sum of predictions / sum of outcomes; NaN where the outcomes sum to 0."""
    total = float((weight * outcome).sum())
    return float((weight * predicted).sum()) / total if total > 0 else float("nan")


def ece(predicted: Array, outcome: Array, weight: Array, *, n_buckets: int = 10) -> float:
    """Expected calibration error over buckets of equal weight in order of prediction; 0 without rows."""
    if len(predicted) == 0:
        return 0.0
    order = np.argsort(predicted, kind="stable")
    w = np.asarray(weight, np.float64)[order]
    passed = np.cumsum(w) - 0.5 * w
    bucket = np.minimum((passed / w.sum() * n_buckets).astype(np.int64), n_buckets - 1)
    gap = np.bincount(bucket, w * (np.asarray(predicted, np.float64) - outcome)[order])
    return float(np.abs(gap).sum() / w.sum())


def spearman(a: Array, b: Array) -> float:
    """Rank correlation of float[m], mean ranks where values tie; 1 where one of them is constant."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        last = np.cumsum(count)
        ranks.append((last - (count - 1) / 2)[place])
    x, y = ranks[0] - ranks[0].mean(), ranks[1] - ranks[1].mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 1.0
