"""What another policy would have earned, from what the logging policy showed, by inverse propensity.

w = target / logged. IPS = mean(w r) is unbiased when every action the target may take had a chance; SNIPS = sum(w r) / sum(w) trades a
bias of order 1/n for less variance and for invariance to a shift of the reward (Swaminathan and Joachims 2015). The free alarm is E[w]:
its mean is 1 exactly when the logging policy's support covers the target's, whatever the reward. When it is not, or when the effective
sample size (sum w)^2 / sum w^2 is small, the log can't answer, and the verdict says "not identifiable" instead of a number to believe.
Rows of one viewer depend on each other: intervals resample viewers when `user` is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Estimate, Float64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, ratio, user_rows

MEAN_WEIGHT_GAP = (
    0.05  # E[w] may differ from 1 by this much, or by 4 standard errors if that is more
)
SMALLEST_SAMPLE = 100.0  # effective rows below which an estimate is noise


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a log can answer for a target policy."""

    mean_weight: float  # E[w], 1 when the support covers the target
    standard_error: float  # of mean_weight
    n_effective: float  # (sum w)^2 / sum w^2
    reason: str  # "" when it can

    @property
    def verdict(self) -> str:
        """ "ok" or "not identifiable"."""
        return NOT_IDENTIFIABLE if self.reason else "ok"


def support_of(logged: Float64, target: Float64) -> Support:
    """The support of propensities logged float64[n] in (0, 1] for the target's probabilities float64[n] in [0, 1].

    Raises InvalidInput outside these ranges."""
    weight = _weights(logged, target)
    if not len(weight) or not weight.any():
        return Support(0.0, 0.0, 0.0, "the target policy takes no logged action")
    mean = float(weight.mean())
    error = float(weight.std(ddof=1) / np.sqrt(len(weight))) if len(weight) > 1 else float("inf")
    n_effective = float(weight.sum() ** 2 / np.square(weight).sum())
    reason = ""
    if n_effective < SMALLEST_SAMPLE:
        reason = f"{n_effective:.0f} effective rows, at least {SMALLEST_SAMPLE:.0f} needed"
    elif abs(mean - 1.0) > max(MEAN_WEIGHT_GAP, 4 * error):
        reason = f"E[w] is {mean:.3f}, not 1: the logging policy never shows some of what the target would"
    return Support(mean, error, n_effective, reason)


@dataclass(frozen=True, slots=True)
class Ips:
    """IPS, with weights cut at `clip` when that is given (OffPolicyEstimator)."""

    clip: float | None = None
    n_resamples: int = 1000
    seed: int = 0

    def estimate(
        self, reward: Float64, logged: Float64, target: Float64, user: Array | None = None
    ) -> Estimate:
        """The mean reward under the target with its 95 % interval; reward, logged, target float64[n], user any keys [n]."""
        weight = _weights(logged, target)
        if self.clip is not None:
            weight = np.minimum(weight, self.clip)
        result = self._ratio(weight * reward, np.ones(len(weight)), user)
        return _judged(result, support_of(logged, target))

    def _ratio(self, numerator: Float64, denominator: Float64, user: Array | None) -> Estimate:
        return _clustered(numerator, denominator, user, self.n_resamples, self.seed)

    def bias_bound(self, logged: Float64, target: Float64) -> float:
        """E[(w - clip)+]: how much clipping can hide at most, for rewards in [0, 1]; 0 without clipping."""
        if self.clip is None or not len(logged):
            return 0.0
        return float(np.maximum(_weights(logged, target) - self.clip, 0.0).mean())


@dataclass(frozen=True, slots=True)
class Snips:
    """Self-normalised IPS (OffPolicyEstimator)."""

    n_resamples: int = 1000
    seed: int = 0

    def estimate(
        self, reward: Float64, logged: Float64, target: Float64, user: Array | None = None
    ) -> Estimate:
        """The mean reward under the target with its 95 % interval; reward, logged, target float64[n], user any keys [n]."""
        weight = _weights(logged, target)
        result = _clustered(weight * reward, weight, user, self.n_resamples, self.seed)
        return _judged(result, support_of(logged, target))


def _clustered(
    numerator: Float64, denominator: Float64, user: Array | None, n_resamples: int, seed: int
) -> Estimate:
    if user is not None:
        rows, n_users = user_rows(user)
        numerator = np.bincount(rows, numerator, n_users).astype(np.float64)
        denominator = np.bincount(rows, denominator, n_users).astype(np.float64)
    return ratio(numerator, denominator, n_resamples=n_resamples, seed=seed)


def _judged(result: Estimate, support: Support) -> Estimate:
    verdict = support.verdict if result.verdict == "ok" else result.verdict
    return replace(result, n_effective=support.n_effective, verdict=verdict)


def _weights(logged: Float64, target: Float64) -> Float64:
    logged, target = np.asarray(logged, np.float64), np.asarray(target, np.float64)
    if logged.shape != target.shape:
        raise expected("target", f"{len(logged)} rows", len(target))
    if not ((logged > 0) & (logged <= 1)).all():
        raise expected(
            "logged propensities", "values in (0, 1]", _outside(logged, low_allowed=False)
        )
    if not ((target >= 0) & (target <= 1)).all():
        raise expected(
            "target probabilities", "values in [0, 1]", _outside(target, low_allowed=True)
        )
    return np.asarray(target / logged, np.float64)


def _outside(values: Float64, *, low_allowed: bool) -> float:
    is_low = values < 0 if low_allowed else values <= 0
    return float(values[is_low | ~(values <= 1)][0])
