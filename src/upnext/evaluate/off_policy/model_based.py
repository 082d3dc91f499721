"""Estimators that lean on a reward model q: its word alone, or its word corrected by the rewards that it failed to predict.

Direct method: mean of sum_a target(a|x) q(x,a); as biased as q. Doubly robust: + w (r - q(x,a)), unbiased when either the propensities or q
are right (Dudik, Langford and Li 2011); q has to be cross-fitted (`reward_models.py`), or its error is not independent of the row that it
corrects (Chernozhukov et al. 2018). Self-normalised: the correction divided by sum(w) instead of n. Switch: no correction where w > threshold
(Wang, Agarwal and Dudik 2017). Optimistic shrinkage: w -> lambda w / (w^2 + lambda) (Su et al. 2020, eq. 8). The last two are biased by
design, by E[(changed w - w)(r - q)], at most E|changed w - w| max|r - q|: the bound is printed beside the figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Float64
from upnext.evaluate.off_policy.estimator import Ratio, Terms
from upnext.evaluate.off_policy.logged import Logged, Predicted


@dataclass(frozen=True, slots=True)
class DirectMethod:
    """The reward model's word (OffPolicyEstimator)."""

    name: str = "DM"

    def terms(self, log: Logged) -> Terms:
        """The mean of the predicted reward under the target; nothing bounds its bias."""
        return Terms((Ratio.mean(_predicted(log).target),), float("nan"))


@dataclass(frozen=True, slots=True)
class DoublyRobust:
    """DR (OffPolicyEstimator)."""

    name: str = "DR"

    def terms(self, log: Logged) -> Terms:
        """The model's word plus the mean of w (r - q)."""
        return _corrected(log, log.weight)


@dataclass(frozen=True, slots=True)
class SelfNormalisedDoublyRobust:
    """SNDR (OffPolicyEstimator)."""

    name: str = "SNDR"

    def terms(self, log: Logged) -> Terms:
        """The model's word plus the w-weighted mean of r - q."""
        predicted = _predicted(log)
        missed = log.weight * (log.reward - predicted.logged)
        return Terms((Ratio.mean(predicted.target), Ratio(missed, log.weight)))


@dataclass(frozen=True, slots=True)
class SwitchDoublyRobust:
    """Switch-DR (OffPolicyEstimator): above the threshold the model alone speaks. Raises InvalidInput for one below 0."""

    threshold: float
    name: str = "Switch-DR"

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise expected("threshold", "at least 0", self.threshold)

    def terms(self, log: Logged) -> Terms:
        """DR whose weights above the threshold are 0."""
        return _corrected(log, np.where(log.weight <= self.threshold, log.weight, 0.0))


@dataclass(frozen=True, slots=True)
class ShrunkDoublyRobust:
    """DRos (OffPolicyEstimator): 0 is the direct method, infinity is DR. Raises InvalidInput for a shrinkage below 0."""

    shrinkage: float
    name: str = "DRos"

    def __post_init__(self) -> None:
        if not self.shrinkage >= 0:
            raise expected("shrinkage", "at least 0", self.shrinkage)

    def terms(self, log: Logged) -> Terms:
        """DR with weights lambda w / (w^2 + lambda)."""
        return _corrected(log, shrunk(log.weight, self.shrinkage))


def shrunk(weight: Float64, shrinkage: float) -> Float64:
    """lambda w / (w^2 + lambda) of weights float64[n]: all 0 at lambda = 0, the weights themselves at infinity."""
    if np.isinf(shrinkage):
        return weight
    return np.asarray(
        weight
        * np.divide(
            shrinkage, np.square(weight) + shrinkage, where=weight > 0, out=np.zeros_like(weight)
        )
    )


def _corrected(log: Logged, weight: Float64) -> Terms:
    predicted = _predicted(log)
    missed = log.reward - predicted.logged
    change = float(np.abs(weight - log.weight).mean()) if len(log) else 0.0
    bound = change * float(np.abs(missed).max(initial=0.0))
    return Terms((Ratio.mean(predicted.target + weight * missed),), bound)


def _predicted(log: Logged) -> Predicted:
    if log.predicted is None:
        raise InvalidInput("predicted: a model-based estimator needs predictions; see cross_fit")
    return log.predicted
