"""Propensities and outcome means learned from the log itself, by cross-fitting.

Viewers are dealt into folds and each row is predicted by models that learned from the other folds (Chernozhukov et al. 2018), so that
the error of a belief is independent of the outcome that corrects it. Any learner will do: a function from features and targets to a function
from features to predictions. The two here are scikit-learn's (`upnext[evaluate]`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Float64, Int64
from upnext.evaluate.bootstrap import user_rows
from upnext.evaluate.uplift.effects import Nuisances, Study

Predict = Callable[[Float64], Float64]  # float64[m, f] -> float64[m]
Fit = Callable[[Float64, Float64], Predict]  # features float64[n, f], targets float64[n]

N_FOLDS: Final = 5
LEAST_PROPENSITY: Final = 0.01  # a learned propensity stays this far from 0 and 1


def cross_fitted(
    study: Study,
    features: Float64,
    *,
    propensity: Fit,
    outcome: Fit,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> Nuisances:
    """The beliefs about each row, features float64[n, f], from models that saw none of its viewer's rows.

    Raises InvalidInput on other lengths, fewer viewers than folds, or a fold whose others lack an arm."""
    n = len(study.outcome)
    if features.ndim != 2 or len(features) != n:
        raise expected("features", f"float64[{n}, f]", features.shape)
    fold = viewer_folds(study.viewer, n_folds, seed)
    found = Nuisances(*(np.zeros(n) for _ in range(3)))
    for f in range(n_folds):
        rest, here = fold != f, fold == f
        treated = study.treated[rest]
        if treated.all() or not treated.any():
            raise expected("cross-fitting", "treated and untreated rows outside each fold", f)
        x, y = features[rest], study.outcome[rest]
        e = propensity(x, treated.astype(np.float64))(features[here])
        found.propensity[here] = np.clip(e, LEAST_PROPENSITY, 1 - LEAST_PROPENSITY)
        found.if_treated[here] = outcome(x[treated], y[treated])(features[here])
        found.if_not[here] = outcome(x[~treated], y[~treated])(features[here])
    return found


def viewer_folds(viewer: Array, n_folds: int, seed: int) -> Int64:
    """int64[n]: the fold of each row, all rows of a viewer in one. Raises InvalidInput with fewer viewers than folds."""
    rows, n_viewers = user_rows(viewer)
    if n_viewers < n_folds or n_folds < 2:
        raise expected(
            "cross-fitting", f"at least {max(n_folds, 2)} viewers and 2 folds", n_viewers
        )
    order = rng_for("uplift folds", seed, n_viewers).permutation(n_viewers)
    return np.asarray((order % n_folds)[rows], np.int64)


def logistic(features: Float64, target: Float64) -> Predict:
    """P(target = 1) by logistic regression on standardised features; of one class, that class. Raises InvalidInput without scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise _missing() from error
    if target.min() == target.max():
        return _always(float(target[0]))
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    model = LogisticRegression(max_iter=1_000).fit((features - mean) / spread, target)
    return lambda x: np.asarray(model.predict_proba((x - mean) / spread)[:, 1], np.float64)


def boosting(features: Float64, target: Float64) -> Predict:
    """The mean of the target by gradient boosted trees: a probability where it is 0 or 1. Raises InvalidInput without scikit-learn."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    except ImportError as error:
        raise _missing() from error
    if target.min() == target.max():
        return _always(float(target[0]))
    sizes = {"max_iter": 80, "learning_rate": 0.06, "max_leaf_nodes": 8, "min_samples_leaf": 100}
    if np.isin(target, (0, 1)).all():
        classifier = HistGradientBoostingClassifier(**sizes, random_state=0).fit(features, target)
        return lambda x: np.asarray(classifier.predict_proba(x)[:, 1], np.float64)
    regressor = HistGradientBoostingRegressor(**sizes, random_state=0).fit(features, target)
    return lambda x: np.asarray(regressor.predict(x), np.float64)


def _always(value: float) -> Predict:
    return lambda x: np.full(len(x), value)


def _missing() -> InvalidInput:
    return InvalidInput("uplift: expected scikit-learn to be installed, from upnext[evaluate]")
