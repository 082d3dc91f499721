"""The mean effect of a treatment from logged rows: the naive difference, inverse propensity, and doubly robust (METHODS.md H1).

"P(create | watched) / P(create)" is lift, not uplift: those who watch are those who would create anyway. With the probability e(x) of treatment
and the outcome's mean m_w(x) under treatment w,

    IPW    sum(w y / e) / sum(w / e) - sum((1 - w) y / (1 - e)) / sum((1 - w) / (1 - e))           (Hajek 1971)
    AIPW   mean of psi = m_1 - m_0 + w (y - m_1) / e - (1 - w) (y - m_0) / (1 - e)                  (Robins, Rotnitzky & Zhao 1994)

AIPW is right where either e or m is. All of it holds only where every reason that drives both treatment and outcome is among the features: no
estimator can know what the log doesn't. A slice whose treatment was drawn with a known probability needs no such belief.
Intervals come from the influence function, summed over each viewer's rows, since these depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Estimate, Float64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, user_rows

SMALLEST_ARM: Final = 100.0  # effective rows of either arm below which an estimate is noise
_Z: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Study:
    """n rows, each a chance to be treated, such as a showing that was watched or not."""

    treated: Bool  # [n]
    outcome: Float64  # [n] such as 1 where the viewer created within a week
    viewer: Array  # [n] any keys; rows of one viewer are one draw

    def __post_init__(self) -> None:
        n = len(self.treated)
        if not n == len(self.outcome) == len(self.viewer):
            got = (n, len(self.outcome), len(self.viewer))
            raise expected("study", "as many treated as outcomes and viewers", got)
        if self.treated.dtype != np.bool_ or not 0 < self.treated.sum() < n:
            raise expected("treated", "bool rows, some of them true and some not", self.treated)
        if not np.isfinite(self.outcome).all():
            raise expected("outcome", "finite numbers", self.outcome[~np.isfinite(self.outcome)][0])


@dataclass(frozen=True, slots=True)
class Nuisances:
    """What is believed of n rows; none of it may come from a model that saw the row's viewer."""

    propensity: Float64  # [n] P(treated | x), in (0, 1)
    if_treated: Float64  # [n] E[outcome | x, treated]
    if_not: Float64  # [n]


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean effect."""

    mean: float
    standard_error: float
    n_effective: float  # of the smaller arm: (sum of weights)^2 / sum of squares

    @property
    def estimate(self) -> Estimate:
        """The effect with its 95 % interval; "not identifiable" where an arm has fewer than SMALLEST_ARM effective rows."""
        far = _Z * self.standard_error
        verdict = "ok" if self.n_effective >= SMALLEST_ARM else NOT_IDENTIFIABLE
        return Estimate(self.mean, self.mean - far, self.mean + far, self.n_effective, verdict)


def naive_difference(study: Study) -> Effect:
    """Treated less untreated rows, as they are: the effect where treatment was drawn evenly, and the mixture of effect and selection elsewhere."""
    even = np.full(len(study.treated), study.treated.mean())
    return inverse_propensity(study, even)


def inverse_propensity(study: Study, propensity: Float64) -> Effect:
    """IPW with weights normalised within each arm. Raises InvalidInput where a propensity is not in (0, 1)."""
    _check(study, propensity, "propensity")
    weights = _arm_weights(study, propensity)
    influence = np.zeros(len(study.outcome))
    means = []
    for weight, sign in zip(weights, (1.0, -1.0)):
        share = weight / weight.sum()
        mean = float(share @ study.outcome)
        means.append(mean)
        influence += sign * share * (study.outcome - mean)
    n_effective = min(_effective(weight) for weight in weights)
    return Effect(means[0] - means[1], _clustered_error(influence, study.viewer), n_effective)


def doubly_robust(study: Study, nuisances: Nuisances) -> Effect:
    """AIPW. Raises InvalidInput where a propensity is not in (0, 1) or a belief is missing."""
    psi = pseudo_outcomes(study, nuisances)
    mean = float(psi.mean())
    influence = (psi - mean) / len(psi)
    weights = _arm_weights(study, nuisances.propensity)
    n_effective = min(_effective(weight) for weight in weights)
    return Effect(mean, _clustered_error(influence, study.viewer), n_effective)


def pseudo_outcomes(study: Study, nuisances: Nuisances) -> Float64:
    """float64[n]: psi of each row, whose mean given x is the effect at x where either belief is right."""
    _check(study, nuisances.propensity, "propensity")
    for name in ("if_treated", "if_not"):
        _check(study, getattr(nuisances, name), name)
    one, none, e = nuisances.if_treated, nuisances.if_not, nuisances.propensity
    y, w = study.outcome, study.treated.astype(np.float64)
    corrected = w * (y - one) / e - (1 - w) * (y - none) / (1 - e)
    return np.asarray(one - none + corrected, np.float64)


def _arm_weights(study: Study, propensity: Float64) -> tuple[Float64, Float64]:
    w = study.treated.astype(np.float64)
    return w / propensity, (1 - w) / (1 - propensity)


def _effective(weight: Float64) -> float:
    return float(weight.sum() ** 2 / np.square(weight).sum())


def _clustered_error(influence: Float64, viewer: Array) -> float:
    """The standard error of a sum of influences float64[n], those of one viewer taken together."""
    rows, n_viewers = user_rows(viewer)
    sums = np.bincount(rows, influence, n_viewers)
    return float(np.sqrt(np.square(sums).sum() * n_viewers / max(n_viewers - 1, 1)))


def _check(study: Study, values: Float64, name: str) -> None:
    if len(values) != len(study.outcome):
        raise expected(name, f"{len(study.outcome)} rows", len(values))
    wrong = ~np.isfinite(values)
    if name == "propensity":
        wrong |= (values <= 0) | (values >= 1)
    if wrong.any():
        wanted = "numbers between 0 and 1, the ends excluded" if name == "propensity" else "numbers"
        raise expected(name, wanted, float(values[wrong][0]))
