"""Sampled softmax that converges to log p(video | viewer): three corrections that are justified, none mixed.

One batch scores b viewers against s candidate columns: the b positives of the batch themselves, which are draws from the
popularity of the training stream, and uniform draws shared by all. Column c stands for a draw from the mixture
Q = r * Q_pop + (1 - r) / V (Yang 2020), so the expected number of draws of item j is nQ(j) = n_popular * Q_pop(j) + n_uniform / V.

- candidate (Jean 2015; Yi 2019): log nQ is subtracted from positive and negatives alike; a column that repeats the positive
  stays in. Consistent for log p(i|x) at every n.
- importance: the positive is left alone, negatives lose log nQ, repeats of the positive are taken out. Its gradient tends to the
  full softmax's as n grows.
- refined (Khrylchenko 2025): negatives as in importance, the positive leaves the denominator, and the row is weighted by
  1 - P(positive), estimated from the same draws.

Easily misread: correcting all columns AND taking repeats out is none of these, and gets worse with larger batches. A cosine is
divided by the temperature before the correction, never after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Pairing = Literal["candidate", "importance", "refined"]


@dataclass(frozen=True)
class Proposal:
    """Where the candidate columns of a batch come from."""

    n_popular: int  # draws from the training stream that a row sees: batch size - 1
    n_uniform: int
    popularity: Tensor  # float32[V] share of each item among the examples as they are drawn
    n_pool: int | None = None  # videos that uniform draws choose among; None: all V

    def log_draws(self, item: Tensor) -> Tensor:
        """float32[s]: log of the expected number of draws of each item int64[s]; never -inf."""
        uniform = self.n_uniform / (self.n_pool or len(self.popularity))
        draws = self.n_popular * self.popularity[item] + uniform
        return draws.clamp_min(1e-12).log()


def sampled_softmax(
    logits: Tensor,
    candidate: Tensor,
    positive: Tensor,
    log_draws: Tensor,
    pairing: Pairing,
    hidden: Tensor | None = None,
) -> Tensor:
    """float32[b]: the loss of every row.

    logits float32[b, s], already divided by the temperature; candidate int64[s] is the item of each column; positive int64[b] the
    column that is the row's own positive; log_draws float32[s] as Proposal gives it; hidden bool[b, s] marks columns outside the
    row's choice (already seen videos), which no row's own positive may be."""
    corrected = logits - log_draws
    row = torch.arange(len(logits), device=logits.device)
    if hidden is not None:
        hidden = hidden.clone()
        hidden[row, positive] = False
        corrected = corrected.masked_fill_(hidden, -torch.inf)
    if pairing == "candidate":
        return functional.cross_entropy(corrected, positive, reduction="none")
    repeats = candidate[None, :] == candidate[positive][:, None]
    negatives = torch.logsumexp(corrected.masked_fill_(repeats, -torch.inf), 1)
    kept = logits[row, positive]
    if pairing == "importance":
        return torch.logaddexp(negatives, kept) - kept
    p_positive = torch.sigmoid(kept - negatives).detach()
    return (1 - p_positive) * (negatives - kept)
