"""The mean over independent runs (worlds, seeds, markets) with Student's interval."""

from __future__ import annotations

import math

from upnext.core.types import Estimate, Float64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE


def student(values: Float64) -> Estimate:
    """The mean with Student's 95 % interval; NaN ends below two values, "not identifiable" without any."""
    from scipy.stats import t

    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0, NOT_IDENTIFIABLE)
    mean, far = float(values.mean()), math.nan
    if n > 1:
        far = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - far, mean + far, n)
