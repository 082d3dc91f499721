"""Less variance from what was known of a viewer before their first exposure (CUPED: Deng, Xu, Kohavi & Walker 2013).

    adjusted = value - theta * (covariate - mean(covariate)),   theta = cov(value, covariate) / var(covariate)

The covariate is from before the exposure, so no arm can change it and the means stay unbiased; the variance becomes 1 - rho^2 of what it
was. theta and the mean are of all arms together; theta comes from within the arms, so that an effect does not leak into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Float64, Int64


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Values with the covariate's part taken out."""

    values: Float64  # [n]
    theta: float
    correlation: float  # of value and covariate inside arms; 0 where either doesn't vary

    @property
    def variance_left(self) -> float:
        """The share of the variance that stays."""
        return 1 - self.correlation**2


def adjusted(values: Float64, covariate: Float64, arm: Int64) -> Adjusted:
    """values float64[n] of viewers in arms int64[n], adjusted by a covariate float64[n] of the time before; NaN there: unknown, as the mean.

    Raises InvalidInput where the columns differ in length."""
    if not len(values) == len(covariate) == len(arm):
        raise expected("covariate and arm", f"{len(values)} viewers", (len(covariate), len(arm)))
    known = np.isfinite(covariate)
    if not known.any():
        return Adjusted(values, 0.0, 0.0)
    before = np.where(known, covariate, covariate[known].mean())
    y, x = _inside(values, arm), _inside(before, arm)
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    if not xx * yy > 0:
        return Adjusted(values, 0.0, 0.0)
    theta = xy / xx
    return Adjusted(values - theta * (before - before.mean()), theta, xy / (xx * yy) ** 0.5)


def _inside(values: Float64, arm: Int64) -> Float64:
    """float64[n]: less the arm's mean."""
    n = np.bincount(arm)
    return np.asarray(values - (np.bincount(arm, values) / np.maximum(n, 1))[arm])
