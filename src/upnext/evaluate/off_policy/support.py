"""Whether a log can answer for a target policy at all, before any reward is looked at.

The free alarm is E[w]: its mean is 1 exactly when the logging policy's support covers the target's, whatever the reward. When it is not,
when the effective sample size (sum w)^2 / sum w^2 is small, or when the target puts its mass on actions that the log never shows, the
verdict is "not identifiable" instead of a number to believe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.types import Float64, Int64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE
from upnext.evaluate.off_policy.logged import Logged

SUPPORT_GAP = (
    0.05  # E[w] may miss 1, and never logged mass be, this much (E[w]: or 4 standard errors)
)
SMALLEST_SAMPLE = 100.0  # effective rows below which an estimate is noise


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a log can answer for a target policy."""

    mean_weight: float  # E[w], 1 when the support covers the target
    standard_error: float  # of mean_weight, over clusters
    n_effective: float  # (sum w)^2 / sum w^2
    never_logged: (
        float  # share of the target's mass on actions that the log never shows; NaN: unknown
    )
    reason: str  # "" when it can

    @property
    def verdict(self) -> str:
        """ "ok" or "not identifiable"."""
        return NOT_IDENTIFIABLE if self.reason else "ok"


def support_of(log: Logged) -> Support:
    """The support of a log for its target policy; an empty log has none."""
    return support_of_weights(log.weight, log.cluster, never_logged=_never_logged(log))


def support_of_weights(
    weight: Float64, cluster: Int64, *, never_logged: float = float("nan")
) -> Support:
    """The same of weights float64[n] in clusters int64[n] of dependent rows."""
    if not weight.any():
        nan = float("nan")
        return Support(0.0, nan, 0.0, nan, "the target policy takes no logged action")
    mean = float(weight.mean())
    error = clustered_error(weight - mean, cluster)
    n_effective = float(weight.sum() ** 2 / np.square(weight).sum())
    reason = ""
    if n_effective < SMALLEST_SAMPLE:
        reason = f"{n_effective:.0f} effective rows, at least {SMALLEST_SAMPLE:.0f} needed"
    elif abs(mean - 1.0) > max(SUPPORT_GAP, 4 * error):
        reason = f"E[w] is {mean:.3f}, not 1: the logging policy never shows some of what the target would"
    elif never_logged > SUPPORT_GAP:
        reason = f"{never_logged:.0%} of the target's choices were never logged"
    return Support(mean, error, n_effective, never_logged, reason)


def clustered_error(influence: Float64, cluster: Int64) -> float:
    """The standard error of a mean from its influence values float64[n] (mean 0); inf for fewer than two clusters."""
    total = np.bincount(cluster, influence)
    n_clusters = len(total)
    if n_clusters < 2:
        return float("inf")
    return float(np.sqrt(n_clusters / (n_clusters - 1) * np.square(total).sum()) / len(influence))


def _never_logged(log: Logged) -> float:
    """Counted per position: an action shown in one place says nothing of another."""
    if log.target_all is None or log.action is None or not len(log):
        return float("nan")
    position = np.zeros(len(log), np.int64) if log.position is None else log.position
    distribution = np.arange(len(log)) if log.distribution is None else log.distribution
    shown = np.zeros((int(position.max()) + 1, log.target_all.shape[1]), np.bool_)
    shown[position, log.action] = True
    missing = 0.0
    for p in np.unique(position):  # a page has few positions
        each = log.target_all[:, ~shown[p]].sum(axis=1)
        missing += float(each[distribution[position == p]].sum())
    return missing / len(log)
