"""What each logged action weighs in the loss: the correction for the policy that chose it, and for filling K slots at once.

With r the reward, beta the logging policy's propensity, u = 1/V the uniform policy's and pi the policy in training:

    softmax     L = -sum sign(r) min(|r| u / beta, c) log pi(a|x)      pi comes to be proportional to the mean reward
    reinforce   L = -sum r min(pi / beta, c) log pi(a|x)               pi goes to the best action (Chen 2019)

u only sets the scale: E[u / beta] over the log is 1 if the propensities are right and every video can be shown, which is the check of a
learned beta. For K slots drawn independently the gradient of 1 - (1 - pi)^K is lambda_K = K (1 - pi)^(K-1) times that of pi (Chen 2019,
section 4.3): an action that is as good as sure to be there gains nothing more. No weight carries a gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LEAST_PROPENSITY = 1e-9


def action_weights(
    reward: Tensor,
    log_policy: Tensor,
    propensity: Tensor | None,
    uniform: float,
    *,
    objective: Literal["softmax", "reinforce"],
    cap: float,
) -> Tensor:
    """float32[t] of t actions, of no larger size than cap * max(|reward|, 1); propensity None: uncorrected, the rewards."""
    if propensity is None:
        return reward
    beta = propensity.clamp_min(LEAST_PROPENSITY)
    if objective == "reinforce":
        return reward * (log_policy.detach().exp() / beta).clamp_max(cap)
    return (reward * uniform / beta).clamp(-cap, cap)


def top_k_factor(log_policy: Tensor, k: int) -> Tensor:
    """float32[t]: lambda_K = K (1 - pi)^(K-1), the slope of 1 - (1 - pi)^K in pi; 1 for K = 1."""
    p = log_policy.detach().exp().clamp(0, 1)
    return k * (1 - p) ** (k - 1)


def self_normalised(weight: Tensor) -> Tensor:
    """float32[t]: the weights divided by the mean of their sizes; zeros stay zeros."""
    return weight / weight.abs().mean().clamp_min(torch.finfo(weight.dtype).tiny)
