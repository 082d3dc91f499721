"""Two arms compared by the means of their viewers' values: at a planned end, and at any moment.

Fixed horizon: Welch (1947), unequal variances. It errs in 5 % of A/A tests when it is read once; read every day until it says yes, it errs
in far more (tests print how many). The always-valid interval may be read as often as one likes: over all moments together it misses the
truth in at most 5 % of experiments. It is the normal mixture boundary (Robbins 1970; Howard et al. 2021, eq. 14; the same as the mSPRT of
Johari et al. 2017) for the standardised difference, with the variance estimated (asymptotic confidence sequence, Waudby-Smith et al. 2024):

    |difference| < se * sqrt((v + rho) / v * log((v + rho) / (rho * alpha^2))),   v = 1 / (1 / n_treated + 1 / n_control)

rho decides where it is tightest; it is fixed beforehand, for v = 500. A viewer is one value, however many pages they saw: rows of a viewer
depend on each other. Ratios (clicks / videos shown) become a value per viewer by the delta method (Deng et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Float64

ALPHA: Final = 0.05
SMALLEST_ARM: Final = 100  # viewers; below it nothing is said
RHO: Final = 60.0  # least width at v = RHO * (-W(-alpha^2 / e) - 1) = 500 for alpha = .05


@dataclass(frozen=True, slots=True)
class Sample:
    """An arm's viewers in three numbers."""

    n: int
    mean: float
    variance: float  # of one viewer, with n - 1

    @staticmethod
    def of(values: Float64) -> Sample:
        """Of values float64[n]; NaN mean of none, NaN variance of fewer than two."""
        n = len(values)
        mean = float(values.mean()) if n else math.nan
        return Sample(n, mean, float(values.var(ddof=1)) if n > 1 else math.nan)


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with its 95 % interval and p-value; infinite bounds and p 1 where too little is known."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether zero lies outside."""
        return not self.low <= 0 <= self.high


def welch(treated: Sample, control: Sample, alpha: float = ALPHA) -> Interval:
    """mean(treated) - mean(control) at a horizon that was fixed beforehand."""
    from scipy import stats

    difference, se = _difference(treated, control)
    if not se > 0:
        return Interval(difference, -math.inf, math.inf, 1.0)
    parts = [s.variance / s.n for s in (treated, control)]
    n_minus_1 = [treated.n - 1, control.n - 1]
    df = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, n_minus_1))
    reach = se * float(stats.t.ppf(1 - alpha / 2, df))
    p = 2 * float(stats.t.sf(abs(difference) / se, df))
    return Interval(difference, difference - reach, difference + reach, p)


def always_valid(treated: Sample, control: Sample, alpha: float = ALPHA) -> Interval:
    """mean(treated) - mean(control), valid whenever it is looked at."""
    difference, se = _difference(treated, control)
    if not se > 0 or min(treated.n, control.n) < SMALLEST_ARM:
        return Interval(difference, -math.inf, math.inf, 1.0)
    return anytime(difference, se, 1 / (1 / treated.n + 1 / control.n), alpha)


def anytime(difference: float, se: float, v: float, alpha: float = ALPHA) -> Interval:
    """The always-valid interval of any asymptotically normal difference with v effective viewers."""
    reach = se * float(critical_z(np.array([v]), alpha)[0])
    p = float(anytime_p(np.array([difference / se]), np.array([v]))[0])
    return Interval(difference, difference - reach, difference + reach, p)


def critical_z(v: Array, alpha: float = ALPHA) -> Float64:
    """float64[...]: how many standard errors the always-valid interval reaches with v effective viewers."""
    return np.asarray(np.sqrt((v + RHO) / v * np.log((v + RHO) / (RHO * alpha**2))))


def anytime_p(z: Array, v: Array) -> Float64:
    """float64[...]: 1 / the mixture likelihood ratio, at most 1: below alpha exactly where zero is outside the interval."""
    log_ratio = 0.5 * np.log(RHO / (v + RHO)) + 0.5 * z**2 * v / (v + RHO)
    return np.asarray(np.exp(-np.maximum(log_ratio, 0.0)))


def relative(treated: Sample, control: Sample, alpha: float = ALPHA) -> Interval:
    """mean(treated) / mean(control) - 1, valid whenever it is looked at (delta method); unknown where the control's mean is 0."""
    if min(treated.n, control.n) < SMALLEST_ARM or not control.mean:
        return Interval(math.nan, -math.inf, math.inf, 1.0)
    ratio = treated.mean / control.mean
    variance = treated.variance / treated.n + ratio**2 * control.variance / control.n
    if not variance > 0:
        return Interval(ratio - 1, -math.inf, math.inf, 1.0)
    se = math.sqrt(variance) / abs(control.mean)
    return anytime(ratio - 1, se, 1 / (1 / treated.n + 1 / control.n), alpha)


def linearised(numerator: Float64, denominator: Float64) -> Float64:
    """float64[n]: per viewer a value whose mean is sum(numerator) / sum(denominator), with the delta method's variance.

    NaN for all where the denominators are all 0. Raises InvalidInput where the columns differ in length."""
    if len(numerator) != len(denominator):
        raise expected("denominator", f"{len(numerator)} viewers", len(denominator))
    total = float(denominator.sum())
    if not total:
        return np.full(len(numerator), np.nan)
    ratio = float(numerator.sum()) / total
    return np.asarray(ratio + (numerator - ratio * denominator) * (len(denominator) / total))


def _difference(treated: Sample, control: Sample) -> tuple[float, float]:
    """(difference, its standard error; NaN where an arm has fewer than two viewers)."""
    if min(treated.n, control.n) < 2:
        return treated.mean - control.mean, math.nan
    variance = treated.variance / treated.n + control.variance / control.n
    return treated.mean - control.mean, math.sqrt(variance)
