"""The effect for one pair, tau(x): S-, T- and DR-learner (Kuenzel et al. 2019; Kennedy 2023).

S fits one model of the outcome with the treatment as a feature, T one for each arm; both carry over what confounds. The DR-learner
regresses the cross-fitted pseudo-outcome of AIPW on the features, and so inherits its double robustness.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float64
from upnext.evaluate.uplift.effects import Nuisances, Study, pseudo_outcomes
from upnext.evaluate.uplift.nuisances import Fit, Predict


def s_learner(study: Study, features: Float64, outcome: Fit) -> Predict:
    """tau(x) = m(x, 1) - m(x, 0) of one model of the outcome."""
    model = outcome(_with(features, study.treated.astype(np.float64)), study.outcome)

    def tau(x: Float64) -> Float64:
        one, none = (model(_with(x, np.full(len(x), w))) for w in (1.0, 0.0))
        return np.asarray(one - none, np.float64)

    return tau


def t_learner(study: Study, features: Float64, outcome: Fit) -> Predict:
    """tau(x) = m_1(x) - m_0(x) of a model for each arm."""
    one, none = (outcome(features[a], study.outcome[a]) for a in (study.treated, ~study.treated))
    return lambda x: np.asarray(one(x) - none(x), np.float64)


def dr_learner(study: Study, features: Float64, nuisances: Nuisances, effect: Fit) -> Predict:
    """tau(x), the regression of AIPW's pseudo-outcomes on the features; nuisances should be cross-fitted."""
    return effect(features, pseudo_outcomes(study, nuisances))


def _with(features: Float64, treatment: Float64) -> Float64:
    return np.concatenate([features, treatment[:, None]], axis=1)
