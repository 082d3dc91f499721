"""How much to clip, switch or shrink, chosen by the log itself instead of a magic number.

SLOPE (Su, Srinath and Krishnamurthy 2020), after Lepski: the candidates stand in order of falling variance and growing bias. The first one is
not changed at all, and each further one is believed as long as its interval, of four standard errors each way, still meets the intervals of all
before it; the last believed one is taken. No bound on the bias is needed, and the choice is within a constant of the best candidate's error.
The candidates are quantiles of the log's own weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from upnext.core.types import Float64
from upnext.evaluate.off_policy.estimator import OffPolicyEstimator
from upnext.evaluate.off_policy.importance import ClippedIps
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.model_based import ShrunkDoublyRobust, SwitchDoublyRobust
from upnext.evaluate.off_policy.support import clustered_error

E = TypeVar("E", bound=OffPolicyEstimator)

SHARES_CHANGED = (
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
    0.3,
)  # of the rows with a weight, by the candidates
WIDTH = 4.0  # standard errors: twice a deviation that a normal keeps within in 95 of 100


def tuned_clip(log: Logged) -> ClippedIps:
    """Clipped IPS with SLOPE's clip."""
    return slope([ClippedIps(c) for c in _candidates(log)], log)


def tuned_switch(log: Logged) -> SwitchDoublyRobust:
    """Switch-DR with SLOPE's threshold; the log needs predictions."""
    return slope([SwitchDoublyRobust(t) for t in _candidates(log)], log)


def tuned_shrinkage(log: Logged) -> ShrunkDoublyRobust:
    """DRos with SLOPE's lambda; the log needs predictions. A weight of sqrt(lambda) is halved."""
    return slope([ShrunkDoublyRobust(t**2) for t in _candidates(log)], log)


def slope(candidates: Sequence[E], log: Logged) -> E:
    """The chosen one of estimators that stand in order of falling variance and growing bias."""
    low, high = -np.inf, np.inf
    chosen = candidates[0]
    for candidate in candidates:
        terms = candidate.terms(log)
        half = WIDTH * clustered_error(terms.influence, log.cluster)
        low, high = max(low, terms.value - half), min(high, terms.value + half)
        if not low <= high:
            break
        chosen = candidate
    return chosen


def _candidates(log: Logged) -> list[float]:
    """Infinity (nothing is changed), then falling quantiles of the positive weights."""
    positive: Float64 = log.weight[log.weight > 0]
    if not len(positive):
        return [float("inf")]
    quantiles = np.quantile(positive, [1 - share for share in SHARES_CHANGED])
    return [float("inf"), *map(float, np.unique(quantiles)[::-1])]
