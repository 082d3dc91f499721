"""The losses of the sequence model against what is known of them."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from sequence_world import PLAIN, random_material
from torch.nn import functional

from upnext.retrieval.sequence.batches import SequenceReader
from upnext.retrieval.sequence.learner import SequenceLearner
from upnext.retrieval.sequence.negatives import draw, gbce, sampled_softmax
from upnext.retrieval.sequence.objective import Objective
from upnext.retrieval.sequence.recent import recent_of
from upnext.retrieval.sequence.softmax import Hidden, full_softmax
from upnext.retrieval.softmax import Proposal


def test_full_softmax_has_the_value_and_the_gradients_of_cross_entropy_without_hidden_columns():
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    items = torch.randn(11, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 3, 10, 7, 1, 2])
    weight = torch.tensor([1.0, 2, 0, 1, 0.5, 1, 3], dtype=torch.float64)
    hidden = Hidden(torch.tensor([0, 2, 2, 3, 3, 3, 5, 5]), torch.tensor([4, 9, 0, 0, 10]))
    masked = torch.zeros(7, 11, dtype=torch.bool)
    masked[[0, 0, 2, 5, 5], [4, 9, 0, 0, 10]] = True
    logits = (query @ items.T).masked_fill(masked, -torch.inf)
    slow = (weight * functional.cross_entropy(logits, target, reduction="none")).sum()
    expected = torch.autograd.grad(slow, (query, items))
    fast = full_softmax(query, items, target, weight, hidden)
    found = torch.autograd.grad(fast, (query, items))
    assert torch.allclose(fast, slow, atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected))


@pytest.mark.parametrize("n_rows", [1, 700])
def test_full_softmax_is_the_same_in_one_block_and_in_many(n_rows, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(n_rows, 4, generator=generator)
    items, weight = torch.randn(9, 4, generator=generator), torch.ones(n_rows)
    target, hidden = (
        torch.arange(n_rows) % 9,
        Hidden(torch.zeros(n_rows + 1).long(), torch.zeros(0).long()),
    )
    whole = full_softmax(query, items, target, weight, hidden)
    monkeypatch.setattr("upnext.retrieval.sequence.softmax.BLOCK", 9 * 13)
    assert torch.allclose(full_softmax(query, items, target, weight, hidden), whole, rtol=1e-5)


def objective_of(material, config):
    """(objective, a batch) of an untrained network."""
    learner = SequenceLearner(config)
    recent = recent_of(material.showings, material.n_items, config.popularity_days)
    reader = SequenceReader(material, recent, config)
    learner._prepared(material, recent).eval()
    return learner._objective(reader), next(iter(reader.epoch(0)))


def loss_and_gradient(objective, batch):
    network = objective.network
    network.zero_grad()
    loss = objective.of(batch, torch.Generator().manual_seed(0))
    loss.backward()
    gradient = network.ids.weight.grad
    return loss.item(), gradient.to_dense() if gradient.is_sparse else gradient


@pytest.mark.parametrize("popularity", [False, True])
def test_sampled_softmax_over_every_other_video_is_the_full_one(popularity):
    material = random_material()
    full = PLAIN.model_copy(update={"exclude_seen": True, "popularity": popularity})
    sampled = full.model_copy(update={"loss": "sampled", "n_uniform": material.n_items})
    one, gradient = loss_and_gradient(*objective_of(material, full))
    other, other_gradient = loss_and_gradient(*objective_of(material, sampled))
    assert other == pytest.approx(one, rel=1e-6)
    assert torch.allclose(gradient, other_gradient, atol=1e-7)
    fewer = sampled.model_copy(update={"n_uniform": 9})
    assert loss_and_gradient(*objective_of(material, fewer))[0] != pytest.approx(one, rel=1e-4)


def learned(p, proposal, log_draws_of):
    """float64[i]: the distribution that free logits learn from sampled softmax, one target a row."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.zeros(len(p), requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for step in range(240):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 240) + 1e-4
        target = torch.multinomial(p, 256, replacement=True, generator=generator)
        draws = draw(proposal, generator)
        left_out = draws.item_id[None] == target[:, None]
        others = logits[draws.item_id].expand(len(target), -1)
        loss = sampled_softmax(logits[target], others, log_draws_of(draws), left_out).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return torch.softmax(logits.detach(), 0)


def test_mixed_negatives_learn_the_distribution_with_the_mixture_and_not_with_popularity_alone():
    p = 1 / torch.arange(1, 31.0) ** 1.2
    p /= p.sum()
    proposal = Proposal(20, 10, p)
    popular = replace(proposal, n_popular=30, n_uniform=0)  # pretends that all came from there

    def distance(found):
        return float((p * (p / found).log()).sum())

    right = learned(p, proposal, lambda draws: draws.log_draws)
    wrong = learned(p, proposal, lambda draws: popular.log_draws(draws.item_id))
    assert distance(right) < 0.01
    assert distance(wrong) > 5 * distance(right)


@pytest.mark.parametrize(("n", "n_items"), [(17, 20), (17, 1_000)])
def test_even_negatives_are_different_videos_and_every_video_is_drawn_alike(n, n_items):
    proposal = Proposal(0, n, torch.full((n_items,), 1 / n_items))
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(proposal, generator).item_id for _ in range(1_200)]
    assert all(len(set(one.tolist())) == n for one in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=n_items).float()
    expected = 1_200 * n / n_items
    # of the halves of the catalogue: a deviation of sums is below sqrt(1,200 * 17) / 2 = 71
    assert abs(counts[: n_items // 2].sum() - expected * n_items / 2) < 5 * 71
    assert counts.min() > 0


def fixed_point(p, k, calibration):
    """float64[i]: sigmoid of the logits at which the expected gBCE over all targets and all sets of k negatives is least."""
    n_items = len(p)
    logits = torch.zeros(n_items, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)
    cases = [
        (i, others)
        for i in range(n_items)
        for others in combinations([j for j in range(n_items) if j != i], k)
    ]
    target = torch.tensor([i for i, _ in cases])
    negatives = torch.tensor([others for _, others in cases])
    share = p[target] / torch.bincount(target)[target]

    def step():
        optimiser.zero_grad()
        none = torch.zeros(negatives.shape, dtype=torch.bool)
        losses = gbce(logits[target], logits[negatives], none, n_items, calibration)
        loss = (share * losses).sum()
        loss.backward()
        return loss

    optimiser.step(step)
    return torch.sigmoid(logits.detach())


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_ends_at_its_closed_form(calibration):
    p, k = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05], dtype=torch.float64), 2
    alpha = k / 4
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    closed = beta * p / (beta * p + alpha * (1 - p))
    found = fixed_point(p, k, calibration)
    assert torch.allclose(found, closed, atol=1e-4)
    if calibration == 1.0:
        assert torch.allclose(found, p, atol=1e-4)  # calibrated
    else:
        assert (found > p + 1e-3).all()  # overconfident, as plain BCE with few negatives is


def test_a_video_once_seen_is_neither_a_target_nor_a_negative_and_its_logit_moves_nothing():
    material = random_material()
    config = PLAIN.model_copy(update={"exclude_seen": True})
    objective, batch = objective_of(material, config)
    rows = [
        batch.seen.item_id[batch.seen.start[r] : batch.seen.start[r + 1]]
        for r in range(len(batch.target))
    ]
    assert not any(target in row for target, row in zip(batch.target.tolist(), rows, strict=True))
    assert [len(row) for row in rows] == (batch.place % (batch.item_id.shape[1] + 1)).tolist()
    with_all = Objective(objective.network, objective.recent, objective.proposal, objective.device)
    free = replace(
        batch, seen=replace(batch.seen, start=0 * batch.seen.start, item_id=batch.seen.item_id[:0])
    )
    generator = torch.Generator()
    assert with_all.of(free, generator) > objective.of(batch, generator)
    assert np.isfinite(objective.of(batch, generator).item())
