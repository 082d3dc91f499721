"""Importance weighting: the rewards of a log, reweighted by w = target / logged.

IPS = mean(w r) is unbiased when every action that the target may take had a chance (Horvitz and Thompson 1952); SNIPS = sum(w r) / sum(w)
trades a bias of order 1/n for less variance and for invariance to a shift of the reward (Swaminathan and Joachims 2015). Weights cut at c
(Ionides 2008) lose E[(w - c)+ r], which is at most E[(w - c)+] max|r|: the bound is printed beside the figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.evaluate.off_policy.estimator import Ratio, Terms
from upnext.evaluate.off_policy.logged import Logged


@dataclass(frozen=True, slots=True)
class Ips:
    """IPS (OffPolicyEstimator)."""

    name: str = "IPS"

    def terms(self, log: Logged) -> Terms:
        """The mean of w r."""
        return Terms((Ratio.mean(log.weight * log.reward),))


@dataclass(frozen=True, slots=True)
class ClippedIps:
    """IPS with weights cut at `clip` (OffPolicyEstimator). Raises InvalidInput for a clip that is not above 0."""

    clip: float
    name: str = "clipped IPS"

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise expected("clip", "above 0", self.clip)

    def terms(self, log: Logged) -> Terms:
        """The mean of min(w, clip) r, and E[(w - clip)+] max|r| as its bias bound."""
        cut = np.minimum(log.weight, self.clip)
        lost = float((log.weight - cut).mean()) if len(log) else 0.0
        largest = float(np.abs(log.reward).max(initial=0.0))
        return Terms((Ratio.mean(cut * log.reward),), lost * largest)


@dataclass(frozen=True, slots=True)
class Snips:
    """Self-normalised IPS (OffPolicyEstimator)."""

    name: str = "SNIPS"

    def terms(self, log: Logged) -> Terms:
        """The sum of w r over the sum of w."""
        return Terms((Ratio(log.weight * log.reward, log.weight),))
