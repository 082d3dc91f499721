"""The values of obp's estimators on `off_policy_inputs`, for tests/evaluate/test_obp_parity.py: `make obp-values` runs it in obp's own environment.

Prints JSON: obp's version, the mean of every input, {estimator: value}.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import obp
from obp import ope
from obp.ope import estimators_slate as slate_estimators
from off_policy_inputs import CLIP, N_ACTIONS, N_SLATES, N_SLOTS, SHRINKAGE, SWITCH, inputs


def single(columns: dict[str, np.ndarray]) -> dict[str, float]:
    """obp's estimators of one draw a round."""
    given = {
        "reward": columns["reward"],
        "action": columns["action"],
        "pscore": columns["logged"],
        "action_dist": columns["target_all"][:, :, None],
        "estimated_rewards_by_reg_model": columns["predictions"][:, :, None],
        "position": np.zeros(len(columns["reward"]), int),
    }
    estimators = {
        "IPS": ope.InverseProbabilityWeighting(),
        "clipped IPS": ope.InverseProbabilityWeighting(lambda_=CLIP),
        "SNIPS": ope.SelfNormalizedInverseProbabilityWeighting(),
        "DM": ope.DirectMethod(),
        "DR": ope.DoublyRobust(),
        "SNDR": ope.SelfNormalizedDoublyRobust(),
        "Switch-DR": ope.SwitchDoublyRobust(lambda_=SWITCH),
        "DRos": ope.DoublyRobustWithShrinkage(lambda_=SHRINKAGE),
    }
    return {name: float(e.estimate_policy_value(**given)) for name, e in estimators.items()}


def slates(columns: dict[str, np.ndarray]) -> dict[str, float]:
    """obp's estimators of slates; slots are drawn independently here, so the conditional probabilities are the marginal ones."""
    logged, target = columns["slate_logged"], columns["slate_target"]
    given = {
        "slate_id": np.repeat(np.arange(N_SLATES), N_SLOTS),
        "reward": columns["slate_reward"].ravel(),
        "position": np.tile(np.arange(N_SLOTS), N_SLATES),
    }
    whole = [np.repeat(p.prod(axis=1), N_SLOTS) for p in (logged, target)]
    above = [p.cumprod(axis=1).ravel() for p in (logged, target)]
    cascade = {"pscore_cascade": above[0], "evaluation_policy_pscore_cascade": above[1]}
    return {
        "slate IPS": slate_estimators.SlateStandardIPS(len_list=N_SLOTS).estimate_policy_value(
            **given, pscore=whole[0], evaluation_policy_pscore=whole[1]
        ),
        "IIPS": slate_estimators.SlateIndependentIPS(len_list=N_SLOTS).estimate_policy_value(
            **given,
            pscore_item_position=logged.ravel(),
            evaluation_policy_pscore_item_position=target.ravel(),
        ),
        "RIPS": slate_estimators.SlateRewardInteractionIPS(len_list=N_SLOTS).estimate_policy_value(
            **given, **cascade
        ),
        "cascade-DR": slate_estimators.SlateCascadeDoublyRobust(
            len_list=N_SLOTS, n_unique_action=N_ACTIONS
        ).estimate_policy_value(
            **given,
            **cascade,
            action=columns["slate_action"].ravel(),
            q_hat=columns["slate_predictions"].ravel(),
            evaluation_policy_action_dist=columns["slate_target_all"].ravel(),
        ),
    }


if __name__ == "__main__":
    columns = inputs()
    values = single(columns) | {name: float(v) for name, v in slates(columns).items()}
    made = {
        "obp": obp.__version__,
        "input_means": {n: float(c.mean()) for n, c in columns.items()},
        "values": values,
    }
    json.dump(made, sys.stdout, indent=1)
    print()
