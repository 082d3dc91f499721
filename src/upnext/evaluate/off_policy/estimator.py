"""How an estimator's rows become a figure with an interval.

Every estimator here is a sum of ratios of sums over rows: IPS is sum(w r) / n, SNIPS sum(w r) / sum(w), self-normalised doubly robust the
sum of two. From the rows follow the value, its influence function (num - ratio den) / mean(den), and from that a standard error that
holds for dependent rows of one viewer (summed within viewers before squaring). The percentile bootstrap over viewers uses the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from upnext.core.types import Estimate, Float64, Int64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, bootstrap
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.support import Support, clustered_error, support_of
from upnext.evaluate.quotient import quotient

Interval = Literal["influence", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """sum(numerator) / sum(denominator) over rows."""

    numerator: Float64  # [n]
    denominator: Float64  # [n]

    @staticmethod
    def mean(values: Float64) -> Ratio:
        """The plain mean of values float64[n]."""
        return Ratio(values, np.ones(len(values)))

    @property
    def value(self) -> float:
        """The ratio; NaN where there is nothing to divide by."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class Terms:
    """An estimate as the sum of ratios of row sums."""

    ratios: tuple[Ratio, ...]  # one at least
    bias_bound: float = 0.0  # how much the weights' change can hide at most, in units of the reward

    @property
    def value(self) -> float:
        """The estimate; NaN without rows."""
        return sum(r.value for r in self.ratios)

    @property
    def influence(self) -> Float64:
        """float64[n], mean 0: how each row moves the value."""
        out = np.zeros(len(self.ratios[0].numerator))
        for r in self.ratios:
            out += (r.numerator - r.value * r.denominator) / r.denominator.mean()
        return out


class OffPolicyEstimator(Protocol):
    """Values a target policy from what a logging policy showed."""

    @property
    def name(self) -> str: ...

    def terms(self, log: Logged) -> Terms: ...


def estimate(
    estimator: OffPolicyEstimator,
    log: Logged,
    *,
    level: float = 0.95,
    interval: Interval = "influence",
    seed: int = 0,
) -> Estimate:
    """The target's mean reward with its interval, the log's effective rows and verdict.

    interval: "influence" (normal theory, cluster-robust by viewer) or "bootstrap" (viewers resampled, keyed by seed). A verdict of
    "not identifiable" comes with the figures all the same; an empty log gives NaN."""
    terms, support = estimator.terms(log), support_of(log)
    if interval == "influence":
        return figure(terms, log.cluster, support, level=level)
    return resampled_figure(terms, log.cluster, support, level=level, seed=seed)


def figure(terms: Terms, cluster: Int64, support: Support, *, level: float) -> Estimate:
    """Terms over rows of clusters int64[n] as an Estimate: Student's t with the number of clusters less one."""
    from scipy.special import stdtrit

    value = terms.value
    if not np.isfinite(value):
        return _nothing(support)
    error = clustered_error(terms.influence, cluster)
    if not np.isfinite(error):
        return Estimate(value, float("-inf"), float("inf"), support.n_effective, NOT_IDENTIFIABLE)
    half = float(stdtrit(int(cluster.max()), (1 + level) / 2)) * error
    return Estimate(value, value - half, value + half, support.n_effective, support.verdict)


def resampled_figure(
    terms: Terms, cluster: Int64, support: Support, *, level: float, seed: int
) -> Estimate:
    """The same with the percentile interval of resampled clusters."""
    if not np.isfinite(terms.value):
        return _nothing(support)
    totals = [
        (np.bincount(cluster, r.numerator), np.bincount(cluster, r.denominator))
        for r in terms.ratios
    ]

    def statistic(counts: Float64) -> Float64:
        parts = [quotient(counts @ num, counts @ den) for num, den in totals]
        return np.asarray(np.sum(parts, axis=0), np.float64)

    result = bootstrap(statistic, len(totals[0][0]), seed=seed, level=level)
    return replace(result, n_effective=support.n_effective, verdict=support.verdict)


def _nothing(support: Support) -> Estimate:
    nan = float("nan")
    return Estimate(nan, nan, nan, support.n_effective, NOT_IDENTIFIABLE)
