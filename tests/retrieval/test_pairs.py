"""Losses on single pairs: numbers by hand, and what they converge to."""

import numpy as np
import pytest
import torch

from upnext.retrieval.pairs import binary_loss, unwatched_loss


def log1pexp(x):
    return float(np.log1p(np.exp(x)))


def test_the_binary_loss_by_hand():
    own = torch.tensor([2.0, -1.0])
    is_positive = torch.tensor([1.0, 0.0])  # the second is an explicit dislike
    random = torch.tensor([[0.0, 1.0, -torch.inf], [5.0, 5.0, 5.0]])
    loss = binary_loss(own, is_positive, random, 3.0, None)
    of_random = 3.0 * (log1pexp(0) + log1pexp(1)) / 2  # the hidden one is no negative
    assert float(loss[0]) == pytest.approx(log1pexp(-2) + of_random, rel=1e-6)
    assert float(loss[1]) == pytest.approx(log1pexp(-1), rel=1e-6)


def test_fewer_negatives_at_weight_one_have_the_same_expectation():
    generator = torch.Generator().manual_seed(0)
    own, is_positive = torch.zeros(4000), torch.ones(4000)
    random = torch.randn(4000, 40, generator=generator)
    weighed = binary_loss(own, is_positive, random, 4.0, None).mean()
    sampled = binary_loss(own, is_positive, random, 4.0, 4).mean()
    assert float(sampled) == pytest.approx(float(weighed), rel=0.02)  # 16,000 draws, sd .4: .3 %
    assert len(set(binary_loss(own, is_positive, random, 4.0, 4).tolist())) > 3000


@pytest.mark.parametrize("n_kept", [None, 5])
def test_the_binary_loss_learns_the_odds_of_relevance_against_random(n_kept):
    """A table of free scores: e^score -> p / (5 / V), p of the positives, weight 5 in all on V = 4 random videos."""
    generator = torch.Generator().manual_seed(1)
    p = torch.tensor([0.4, 0.3, 0.2, 0.1])
    table = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([table], lr=0.02)
    mean = torch.zeros(4)
    for step in range(1200):
        own = torch.multinomial(p, 64, True, generator=generator)
        random = torch.randint(4, (32,), generator=generator)
        loss = binary_loss(table[own], torch.ones(64), table[random].expand(64, 32), 5.0, n_kept)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        mean += table.detach() / 800 if step >= 400 else 0
    assert np.allclose(torch.exp(mean), p * 4 / 5, rtol=0.15)  # 51,200 draws and the steps' noise


def test_the_unwatched_term_ranks_the_relevant_one_higher():
    own = torch.tensor([0.5], requires_grad=True)
    skipped = torch.tensor([0.5], requires_grad=True)
    loss = unwatched_loss(own, skipped).sum()
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2), rel=1e-6)
    assert own.grad.tolist() == [-0.5]
    assert skipped.grad.tolist() == [0.5]
