"""METHODS B3, T1 to T3: the world where p(video | viewer) is known: 6 contexts x 30 items, tables of free logits."""

import numpy as np
import pytest
import torch

from upnext.retrieval.softmax import Proposal, sampled_softmax

N_CONTEXTS, N_ITEMS = 6, 30
STEPS = 1000


def world():
    """(p float32[6, 30] of items given a context, popularity float32[30]) with a head of popular items."""
    rng = np.random.default_rng(3)
    taste = rng.normal(0, 1.8, (N_CONTEXTS, N_ITEMS)) - 0.15 * np.arange(N_ITEMS)
    p = np.exp(taste) / np.exp(taste).sum(1, keepdims=True)
    return torch.tensor(p, dtype=torch.float32), torch.tensor(p.mean(0), dtype=torch.float32)


def fixed_point(loss_of, *, batch=64, n_uniform=0, proposal=None):
    """The mean KL(p || learned) after training free logits with `loss_of(logits, candidate, positive, log_draws)`."""
    p, popularity = world()
    generator = torch.Generator().manual_seed(0)
    table = torch.zeros(N_CONTEXTS, N_ITEMS, requires_grad=True)
    optimiser = torch.optim.Adam([table], lr=0.05)
    proposal = proposal or Proposal(batch - 1, n_uniform, popularity)
    mean = torch.zeros_like(table)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS) + 1e-4
        context = torch.randint(N_CONTEXTS, (batch,), generator=generator)
        own = torch.multinomial(p[context], 1, generator=generator)[:, 0]
        uniform = torch.randint(N_ITEMS, (n_uniform,), generator=generator)
        candidate = torch.cat([own, uniform])
        logits = table[context][:, candidate]
        loss = loss_of(logits, candidate, torch.arange(batch), proposal.log_draws(candidate))
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        if step >= STEPS // 2:
            mean += table.detach() / (STEPS - STEPS // 2)
    learned = torch.log_softmax(mean, 1)
    return float((p * (p.log() - learned)).sum(1).mean())


def right(pairing):
    return lambda *parts: sampled_softmax(*parts, pairing)


def uncorrected(logits, candidate, positive, log_draws):
    del candidate, log_draws  # learns log p(i|x) - log p(i)
    return torch.nn.functional.cross_entropy(logits, positive, reduction="none")


def all_corrected_and_repeats_removed(logits, candidate, positive, log_draws):
    repeats = candidate[None, :] == candidate[positive][:, None]
    repeats[positive, positive] = False
    corrected = (logits - log_draws).masked_fill(repeats, -torch.inf)
    return torch.nn.functional.cross_entropy(corrected, positive, reduction="none")


@pytest.mark.parametrize("pairing", ["candidate", "importance", "refined"])
def test_each_justified_pairing_converges_to_the_true_distribution(pairing):
    assert fixed_point(right(pairing)) < 0.01


def test_without_correction_another_distribution_is_learned():
    assert fixed_point(uncorrected) > 0.3


def test_correcting_all_columns_and_removing_repeats_fails():
    assert fixed_point(all_corrected_and_repeats_removed, batch=128) > 0.05


def test_mixed_negatives_need_the_mixture_as_their_proposal():
    """METHODS 0.2: the right mixture .013, popularity for all candidates above .1."""
    _, popularity = world()
    right_one = fixed_point(right("candidate"), batch=32, n_uniform=128)
    only_popular = Proposal(31 + 128, 0, popularity)
    wrong_one = fixed_point(right("candidate"), batch=32, n_uniform=128, proposal=only_popular)
    assert right_one < 0.013
    assert wrong_one > 0.1


@pytest.mark.parametrize("pairing", ["importance", "refined"])
def test_the_gradient_tends_to_the_full_softmax_as_the_draws_double(pairing):
    """Bias falls about as 1/n: eight times the draws leave less than a quarter (.02 is the runs' noise)."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(N_ITEMS, generator=generator)
    popularity = torch.softmax(torch.randn(N_ITEMS, generator=generator), 0)
    positive = int(logits.argmax())
    full = torch.softmax(logits, 0)
    full[positive] -= 1

    def bias(n, repeats):
        proposal = Proposal(n, 0, popularity)
        total = torch.zeros(N_ITEMS)
        draws = torch.multinomial(popularity, repeats * n, True, generator=generator)
        for drawn in draws.view(repeats, n):
            table = logits.clone().requires_grad_()
            candidate = torch.cat([torch.tensor([positive]), drawn])
            loss = sampled_softmax(
                table[candidate][None], candidate, torch.tensor([0]),
                proposal.log_draws(candidate), pairing,
            )  # fmt: skip
            loss.sum().backward()
            total += table.grad / repeats
        return float((total - full).norm() / full.norm())

    few, many = bias(16, 800), bias(128, 400)
    assert many < few / 4 + 0.02


def test_the_temperature_divides_before_the_correction():
    """A cosine world: with log Q taken off before dividing, the correction would be 1/temperature too strong."""
    _, popularity = world()
    proposal = Proposal(100, 0, popularity)
    item = torch.tensor([0, 5, 9])
    log_draws = proposal.log_draws(item)
    cosine = torch.tensor([[0.2, 0.1, -0.3]])
    loss = sampled_softmax(cosine / 0.1, item, torch.tensor([0]), log_draws, "candidate")
    odds = torch.exp(cosine[0] / 0.1) / (100 * popularity[item])
    assert float(loss) == pytest.approx(float(-(odds[0] / odds.sum()).log()), rel=1e-5)


def test_a_hidden_column_takes_no_part_and_the_own_positive_is_never_hidden():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    item = torch.tensor([4, 5, 6])
    hidden = torch.tensor([[True, False, True]])
    loss = sampled_softmax(logits, item, torch.tensor([0]), torch.zeros(3), "candidate", hidden)
    assert float(loss) == pytest.approx(np.log(1 + np.exp(1)), rel=1e-6)  # against column 1 alone
