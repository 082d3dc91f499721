"""Losses over negatives that a whole batch shares: sampled softmax and generalised binary cross-entropy.

Negatives are drawn once a step, evenly without replacement and by popularity with replacement (Yang 2020). A negative j is expected
nQ(j) = n_uniform / i + n_popular * Q_pop(j) times; the sampled softmax lowers its logit by log nQ(j), leaves the target alone and takes
repeats of the target out (METHODS B1 b). With n_uniform = i and nothing by popularity it is the full softmax, exactly.

gBCE (Petrov & Macdonald 2023): L = -1/(k + 1) [beta log s(f+) + sum log(1 - s(f-))], with alpha = k / (i - 1) and
beta = alpha (t (1 - 1/alpha) + 1/alpha). At its fixed point s(f) = beta P / (beta P + alpha (1 - P)): calibrated for t = 1. The
paper's code turns the positive logit into one whose sigmoid is s(f+)^beta; beta log s(f+) in float64 is the same without the detour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from upnext.retrieval.softmax import Proposal


@dataclass(frozen=True)
class Draws:
    """s shared negatives, and how often each was to be expected."""

    item_id: Tensor  # int64[s], a video drawn twice stands twice
    log_draws: Tensor  # float32[s]


def draw(proposal: Proposal, generator: torch.Generator) -> Draws:
    """A step's negatives: n_uniform different ones (all videos at most), then n_popular by popularity."""
    n_items = len(proposal.popularity)
    parts = [_different(proposal.n_uniform, n_items, generator).to(proposal.popularity.device)]
    if proposal.n_popular:
        drawn = torch.multinomial(
            proposal.popularity.cpu(), proposal.n_popular, replacement=True, generator=generator
        )
        parts.append(drawn.to(proposal.popularity.device))
    item_id = torch.cat(parts)
    return Draws(item_id, proposal.log_draws(item_id))


def _different(n: int, n_items: int, generator: torch.Generator) -> Tensor:
    """int64[n] different videos, every set of n alike; at a cost of n, not of n_items, where n is small."""
    pool = torch.arange(n_items)
    if 50 * n < n_items:  # of twice as many draws far more than n differ
        drawn = torch.randint(n_items, (2 * n,), generator=generator)
        pool = torch.unique(drawn)
    return pool[torch.randperm(len(pool), generator=generator)[:n]]


def sampled_softmax(own: Tensor, others: Tensor, log_draws: Tensor, left_out: Tensor) -> Tensor:
    """float32[t]: the loss of each row.

    own float32[t] logits of the targets, others float32[t, s] of the negatives, left_out bool[t, s]: repeats of the target, seen."""
    corrected = (others - log_draws).masked_fill(left_out, -torch.inf)
    both = torch.cat([own[:, None], corrected], 1)
    return torch.logsumexp(both, 1) - own


def gbce(own: Tensor, others: Tensor, left_out: Tensor, n_items: int, calibration: float) -> Tensor:
    """float32[t]: the loss of each row; arguments as for sampled_softmax, n_items i, calibration t."""
    k = others.shape[1]
    alpha = k / (n_items - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    by_own = beta * functional.softplus(-own.double())
    by_others = functional.softplus(others).masked_fill(left_out, 0).sum(1)
    return ((by_own + by_others) / (k + 1)).to(own.dtype)
