"""How much to clip, switch or shrink, chosen by the log itself instead of a magic number.

A candidate's error is at most variance + bias^2, and the bias of changed weights is the mean of (changed w - w)(r - q), which the log can tell:
it is how far the candidate's value lies from the unchanged estimator's. That difference is noisy where it matters, so its upper 95 %
confidence limit stands for it (after Su et al. 2020, section 5, who minimise variance plus a bound on the bias). With little data nothing
is therefore changed by much. The candidates change the largest 0.1 % to 30 % of the positive weights.
SLOPE (Su, Srinath and Krishnamurthy 2020) was tried instead: with the paper's constants it believed a clip whose interval excluded the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from upnext.evaluate.off_policy.estimator import OffPolicyEstimator
from upnext.evaluate.off_policy.importance import ClippedIps
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.model_based import ShrunkDoublyRobust, SwitchDoublyRobust
from upnext.evaluate.off_policy.support import clustered_error

Changed = TypeVar("Changed", bound=OffPolicyEstimator)

SHARES_CHANGED = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
UPPER = 1.645  # standard errors: a normal lies below it 95 times in 100


def tuned_clip(log: Logged) -> ClippedIps:
    """Clipped IPS with the clip of least error; infinity clips nothing."""
    return least_error([ClippedIps(c) for c in _candidates(log)], log)


def tuned_switch(log: Logged) -> SwitchDoublyRobust:
    """Switch-DR with the threshold of least error; the log needs predictions."""
    return least_error([SwitchDoublyRobust(t) for t in _candidates(log)], log)


def tuned_shrinkage(log: Logged) -> ShrunkDoublyRobust:
    """DRos with the lambda of least error; the log needs predictions. A weight of sqrt(lambda) is halved."""
    return least_error([ShrunkDoublyRobust(t**2) for t in _candidates(log)], log)


def least_error(candidates: Sequence[Changed], log: Logged) -> Changed:
    """The candidate with the least bound on its squared error; the first one changes nothing, ties go to the earlier."""
    unchanged = candidates[0].terms(log)
    value, influence = unchanged.value, unchanged.influence
    errors: list[float] = []
    for candidate in candidates:
        terms = candidate.terms(log)
        own = terms.influence
        noise = clustered_error(own - influence, log.cluster) if errors else 0.0
        bias = abs(terms.value - value) + UPPER * noise
        errors.append(clustered_error(own, log.cluster) ** 2 + bias**2)
    return candidates[int(np.argmin(errors))]


def _candidates(log: Logged) -> list[float]:
    """Infinity (nothing is changed), then falling quantiles of the positive weights."""
    positive = log.weight[log.weight > 0]
    if not len(positive):
        return [math.inf]
    quantiles = np.quantile(positive, [1 - share for share in SHARES_CHANGED])
    return [math.inf, *np.unique(quantiles)[::-1].tolist()]
