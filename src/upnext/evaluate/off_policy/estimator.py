"""How an estimator's rows become a figure with an interval.

Every estimator here is a sum of ratios of sums over rows: IPS is sum(w r) / n, SNIPS sum(w r) / sum(w), self-normalised doubly robust the
sum of two. From the rows follow the value, its influence function (num - ratio den) / mean(den), and from that a standard error that
holds for dependent rows of one viewer (summed within viewers before squaring). The percentile bootstrap over viewers uses the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from upnext.core.types import Estimate, Float64
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


@dataclass(frozen=True, slots=True)
class Terms:
    """An estimate as the sum of ratios of row sums."""

    ratios: tuple[Ratio, ...]
    bias_bound: float = 0.0  # how much the weights' change can hide at most, in units of the reward

    @property
    def value(self) -> float:
        """The estimate; NaN without rows."""
        return sum(float(quotient(r.numerator.sum(), r.denominator.sum())) for r in self.ratios)

    @property
    def influence(self) -> Float64:
        """float64[n], mean 0: how each row moves the value."""
        out = np.zeros(len(self.ratios[0].numerator))
        for r in self.ratios:
            ratio = r.numerator.sum() / r.denominator.sum()
            out += (r.numerator - ratio * r.denominator) / r.denominator.mean()
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
    support: Support | None = None,
) -> Estimate:
    """The target's mean reward with its interval, the log's effective rows and verdict.

    interval: "influence" (normal theory, cluster-robust by viewer) or "bootstrap" (viewers resampled, keyed by seed). A verdict of
    "not identifiable" comes with the figures all the same; an empty log gives NaN. `support` saves recounting it."""
    support = support or support_of(log)
    terms = estimator.terms(log)
    if not np.isfinite(terms.value):
        nan = float("nan")
        return Estimate(nan, nan, nan, support.n_effective, NOT_IDENTIFIABLE)
    low, high = (
        _normal(terms, log, level)
        if interval == "influence"
        else _resampled(terms, log, level, seed)
    )
    return Estimate(terms.value, low, high, support.n_effective, support.verdict)


def _normal(terms: Terms, log: Logged, level: float) -> tuple[float, float]:
    """Student's t with the number of viewers less one; the normal where they are many."""
    from scipy.special import stdtrit

    n_clusters = int(log.cluster.max()) + 1
    error = clustered_error(terms.influence, log)
    if not np.isfinite(error):
        return float("-inf"), float("inf")
    half = float(stdtrit(n_clusters - 1, (1 + level) / 2)) * error
    return terms.value - half, terms.value + half


def _resampled(terms: Terms, log: Logged, level: float, seed: int) -> tuple[float, float]:
    totals = [
        (np.bincount(log.cluster, r.numerator), np.bincount(log.cluster, r.denominator))
        for r in terms.ratios
    ]
    result = bootstrap(
        lambda counts: np.sum(
            [quotient(counts @ num, counts @ den) for num, den in totals], axis=0
        ),
        len(totals[0][0]),
        seed=seed,
        level=level,
    )
    return result.low, result.high
