"""METHODS D1 and D3: lambda_K, the cap, self-normalisation, counted propensities, the stopped gradient."""

import numpy as np
import pytest
import torch
from off_policy_world import DAY_US, SMALL, START_US, armed_log, material_from, showings_from

from upnext.retrieval.off_policy.network import OffPolicyNetwork
from upnext.retrieval.off_policy.propensities import counted_propensities, shares_of
from upnext.retrieval.off_policy.weights import action_weights, self_normalised, top_k_factor


@pytest.mark.parametrize("k", [1, 2, 16])
def test_the_top_k_factor_is_the_slope_of_being_among_k_draws(k):
    """d/dpi of 1 - (1 - pi)^K by a central difference, in float64."""
    p = torch.tensor([0.001, 0.03, 0.2, 0.7, 0.99], dtype=torch.float64)
    h = 1e-6
    among = lambda q: 1 - (1 - q) ** k  # noqa: E731
    slope = (among(p + h) - among(p - h)) / (2 * h)
    assert torch.allclose(top_k_factor(p.log(), k), slope, rtol=1e-7, atol=1e-8)


def test_the_gradient_of_reinforce_with_the_factor_is_that_of_the_top_k_objective():
    """sum over actions of pi (r / beta) lambda_K beta grad log pi = grad of sum r (1 - (1 - pi)^K), all actions logged by beta."""
    k, logits = 5, torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([1.0, 0.2, 0.5, 3.0], dtype=torch.float64)
    beta = torch.tensor([0.6, 0.2, 0.15, 0.05], dtype=torch.float64)
    whole = (reward * (1 - (1 - logits.softmax(0)) ** k)).sum()
    (wanted,) = torch.autograd.grad(whole, logits, retain_graph=True)
    log_pi = logits.log_softmax(0)
    weight = action_weights(reward, log_pi, beta, 0.25, objective="reinforce", cap=1e9)
    objective = (beta * weight * top_k_factor(log_pi, k) * log_pi).sum()
    (got,) = torch.autograd.grad(objective, logits, retain_graph=True)
    assert torch.allclose(got, wanted, atol=1e-12)
    naive = (beta * weight * log_pi).sum()  # the same without the factor is another direction
    (other,) = torch.autograd.grad(naive, logits)
    assert not torch.allclose(other / other.norm(), wanted / wanted.norm(), atol=0.05)


@pytest.mark.parametrize("objective", ["softmax", "reinforce"])
def test_the_cap_bounds_every_weight_and_without_it_rare_actions_have_no_bound(objective):
    reward = torch.tensor([1.0, 1.0, -1.0, 0.5])
    beta = torch.tensor([0.9, 1e-7, 1e-7, 1e-3])
    log_pi = torch.tensor([-0.1, -1.0, -1.0, -2.0])
    capped = action_weights(reward, log_pi, beta, 0.1, objective=objective, cap=4.0)
    free = action_weights(reward, log_pi, beta, 0.1, objective=objective, cap=1e30)
    assert capped.abs().max() <= 4.0
    assert free.abs().max() > 1e4
    assert torch.equal(capped[0], free[0])  # what is below the cap is left alone
    assert torch.equal(capped.sign(), reward.sign())


def test_without_propensities_a_reward_is_its_own_weight():
    reward = torch.tensor([0.0, 2.0, -1.0])
    weight = action_weights(reward, torch.zeros(3), None, 0.1, objective="softmax", cap=0.5)
    assert torch.equal(weight, reward)


def test_self_normalised_weights_have_mean_size_one_and_zeros_stay():
    weight = self_normalised(torch.tensor([0.0, 2.0, -6.0]))
    assert torch.allclose(weight, torch.tensor([0.0, 0.75, -2.25]))
    assert torch.equal(self_normalised(torch.zeros(2)), torch.zeros(2))


def test_counts_are_shares_of_their_own_window_smoothed_to_the_whole_log():
    """Day one: 3 of video 0, 1 of video 1. Day two: 4 of video 2. By hand with 4 showings of smoothing."""
    time_us = [
        START_US // DAY_US * DAY_US + d * DAY_US + i for d, i in zip([0] * 4 + [1] * 4, range(8))
    ]
    showings = showings_from(np.arange(8), [0, 0, 0, 1, 2, 2, 2, 2], time_us)
    config = SMALL.model_copy(update={"count_smoothing": 4.0})
    share = shares_of(showings.item_id, 4)
    assert share.sum() == pytest.approx(1)
    assert share[:3] == pytest.approx((np.array([3, 1, 4]) + 0.25) / 9)
    every = np.ones(8, bool)
    got = counted_propensities(showings, every, 4, config)
    assert got[[0, 3, 4]] == pytest.approx((np.array([3, 1, 4]) + 4 * share[:3]) / 8)
    whole = config.model_copy(update={"count_window_h": 1e6})
    assert got[0] > 1.2 * counted_propensities(showings, every, 4, whole)[0]
    # rows that are no actions say nothing of the choice: here the second day is left out
    first_day = np.arange(8) < 4
    of_actions = counted_propensities(showings, first_day, 4, config)
    assert of_actions[:4] == pytest.approx([(3 + 4 * 3.25 / 5) / 8] * 3 + [(1 + 4 * 1.25 / 5) / 8])
    assert np.isnan(of_actions[4:]).all()


def test_the_propensity_heads_loss_gives_the_state_and_the_policy_no_gradient():
    material = material_from(armed_log(8, np.full(5, 0.2), np.ones(5)), 5)
    torch.manual_seed(0)
    network = OffPolicyNetwork(torch.from_numpy(material.content), torch.zeros(5), 3, SMALL)
    torch.nn.init.normal_(network.ids.weight)
    inputs = network.inputs(torch.tensor([[0, 1], [2, 3]]).flatten()).reshape(2, 2, -1)
    state = network.state(inputs, torch.rand(2, 2, 13))[:, -1]
    context = torch.rand(2, 3)
    network.propensity(state, context, torch.arange(5)).log_softmax(1)[:, 2].sum().backward()
    with_gradient = {n for n, w in network.named_parameters() if w.grad is not None}
    assert with_gradient
    assert all(name.startswith("propensity.") for name in with_gradient)
    network.viewer(state, context).sum().backward()  # the policy's head does reach the state
    assert network.state.gru.weight_hh_l0.grad is not None
