"""Reward models for the direct method and its corrections, and the cross-fitting that keeps them honest.

Cross-fitting: viewers are dealt into folds, and a row is predicted by the model that learned from the other folds, so the error of a
prediction is independent of the reward that corrects it (Chernozhukov et al. 2018). Rows of one viewer are never on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.core.types import Float64, Int64
from upnext.evaluate.off_policy.logged import Logged, Predicted

N_FOLDS = 5
_CELLS = 1 << 20  # predictions made at once by a fitted model


class RewardModel(Protocol):
    """Learns from some rows of a log and predicts rewards of every action on others."""

    def fit(self, log: Logged, rows: Int64) -> Callable[[Int64], Float64]:
        """A function from other rows int64[m] to predictions float64[m, a]."""


def cross_fit(log: Logged, model: RewardModel, *, n_folds: int = N_FOLDS, seed: int = 0) -> Logged:
    """The log with predictions of each row by a model that saw none of its viewer's rows.

    Raises InvalidInput without action and target_all, or with fewer viewers than folds."""
    if log.action is None or log.target_all is None:
        raise InvalidInput("reward model: needs `action` and `target_all` of the log")
    n_clusters = int(log.cluster.max(initial=-1)) + 1
    if n_clusters < n_folds:
        raise expected("cross-fitting", f"at least {n_folds} viewers or rows", n_clusters)
    fold = folds_of(n_clusters, n_folds, seed)[log.cluster]
    logged, target = np.empty(len(log)), np.empty(len(log))
    for f in range(n_folds):
        predict = model.fit(log, np.flatnonzero(fold != f))
        rows = np.flatnonzero(fold == f)
        step = max(1, _CELLS // log.target_all.shape[1])
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            part = Predicted.of(predict(block), log.action[block], log.distributions(block))
            logged[block], target[block] = part.logged, part.target
    return log.with_predicted(Predicted(logged, target))


def folds_of(n_clusters: int, n_folds: int, seed: int) -> Int64:
    """int64[n_clusters]: balanced folds, drawn from the seed."""
    order = rng_for("off-policy folds", seed, n_clusters).permutation(n_clusters)
    return np.asarray(order % n_folds, np.int64)


@dataclass(frozen=True, slots=True)
class TabularModel:
    """The mean reward per position and action, drawn towards the position's mean as far as chance alone explains the differences.

    A cell's mean keeps the share between / (between + within / n) of its distance, where `between` is the variance of true cell means
    by analysis of variance of the one-way random effects model (Searle 1971, chapter 9)."""

    def fit(self, log: Logged, rows: Int64) -> Callable[[Int64], Float64]:
        """Cells that were never seen get their position's mean."""
        assert log.action is not None
        assert log.target_all is not None
        n_actions = log.target_all.shape[1]
        position = np.zeros(len(log), np.int64) if log.position is None else log.position
        n_positions = int(position.max(initial=0)) + 1
        cell = position[rows] * n_actions + log.action[rows]
        shape = (n_positions, n_actions)
        count = np.bincount(cell, minlength=n_positions * n_actions).reshape(shape)
        total = np.bincount(cell, log.reward[rows], n_positions * n_actions).reshape(shape)
        squares = np.bincount(cell, log.reward[rows] ** 2, n_positions * n_actions).reshape(shape)
        table = np.stack([shrunk_means(count[p], total[p], squares[p]) for p in range(n_positions)])
        return lambda others: np.asarray(table[position[others]], np.float64)


def shrunk_means(count: Int64, total: Float64, squares: Float64) -> Float64:
    """float64[c] of cells with count, sum and sum of squares [c]: means drawn towards the mean of all rows; 0 without rows."""
    n = count.sum()
    if not n:
        return np.zeros(len(count))
    overall = total.sum() / n
    mean = np.divide(total, count, out=np.full(len(count), overall), where=count > 0)
    n_cells = int((count > 0).sum())
    within = float((squares - count * mean**2).sum()) / max(1, n - n_cells)
    spread = float((count * (mean - overall) ** 2).sum()) - (n_cells - 1) * within
    between = max(0.0, spread / max(1e-300, n - np.square(count).sum() / n))
    kept = np.divide(between * count, between * count + within, out=np.zeros(len(count)),
                     where=between * count + within > 0)  # fmt: skip
    return np.asarray(overall + kept * (mean - overall), np.float64)


@dataclass(frozen=True, slots=True)
class FittedModel:
    """scikit-learn's logistic or ridge regression, or its gradient boosting, over context, action and position (`upnext[evaluate]`).

    Rewards of 0 and 1 are classified, others regressed."""

    kind: Literal["logistic", "boosting"]

    def fit(self, log: Logged, rows: Int64) -> Callable[[Int64], Float64]:
        """Rows of one reward only give that reward. Raises InvalidInput when scikit-learn is absent."""
        reward = log.reward[rows]
        assert log.target_all is not None
        n_actions = log.target_all.shape[1]
        if len(np.unique(reward)) < 2:
            level = float(reward[0]) if len(reward) else 0.0
            return lambda others: np.full((len(others), n_actions), level)
        assert log.action is not None
        is_binary = bool(np.isin(reward, (0.0, 1.0)).all())
        model = _sklearn_model(self.kind, is_binary, log)
        model.fit(_inputs(log, rows, log.action[rows], self.kind), reward)

        def predict(others: Int64) -> Float64:
            every = np.tile(np.arange(n_actions), len(others))
            x = _inputs(log, np.repeat(others, n_actions), every, self.kind)
            y = model.predict_proba(x)[:, 1] if is_binary else model.predict(x)
            return np.asarray(y, np.float64).reshape(len(others), n_actions)

        return predict


def _inputs(log: Logged, rows: Int64, action: Int64, kind: str) -> Any:
    """float64[m, f]: context, then action and position: codes for boosting, one column each (sparse) for the linear models."""
    position = np.zeros(len(rows), np.int64) if log.position is None else log.position[rows]
    context = np.zeros((len(rows), 0)) if log.context is None else log.context[rows]
    if kind == "boosting":
        return np.column_stack([context, action, position])
    from scipy.sparse import csr_array, hstack

    assert log.target_all is not None
    n_positions = 1 if log.position is None else int(log.position.max()) + 1
    ones, line = np.ones(len(rows)), np.arange(len(rows))
    actions = csr_array((ones, (line, action)), shape=(len(rows), log.target_all.shape[1]))
    positions = csr_array((ones, (line, position)), shape=(len(rows), n_positions))
    return hstack([csr_array(context), actions, positions], format="csr")


def _sklearn_model(kind: str, is_binary: bool, log: Logged) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        from sklearn.linear_model import LogisticRegression, Ridge
    except ImportError as error:
        raise InvalidInput(
            "reward model: needs scikit-learn; pip install 'upnext[evaluate]'"
        ) from error
    if kind == "logistic":
        return LogisticRegression(max_iter=1000) if is_binary else Ridge()
    assert log.target_all is not None
    if log.target_all.shape[1] > 255:
        raise expected(
            "boosting", "at most 255 actions (take tabular or logistic)", log.target_all.shape[1]
        )
    n_context = 0 if log.context is None else log.context.shape[1]
    boosting = HistGradientBoostingClassifier if is_binary else HistGradientBoostingRegressor
    return boosting(categorical_features=[n_context], random_state=0)
