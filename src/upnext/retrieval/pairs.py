"""Losses on single pairs of a viewer and a video, beside the softmax over many.

Binary (DESIGN's design A): cross-entropy of sigmoid(score + bias) where relevant showings are 1, random videos and explicit dislikes 0.
Random videos are many, so they are weighed down, or only as many are kept as the weight says; both have one expectation.

Unwatched: a relevant showing should score above a video that the same viewer was shown soon after and did not watch, log(1 + e^(f_skipped - f)).
It is a term of its own: such videos are drawn by whoever chose what to show, and have no place in a softmax whose correction
knows another proposal (METHODS B1).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def binary_loss(
    own: Tensor, is_positive: Tensor, random: Tensor, per_positive: float, n_kept: int | None
) -> Tensor:
    """float32[b]: the loss of every row.

    own float32[b]: score of the row's own video, which is relevant where is_positive float32[b] is 1 and disliked where it is 0; random
    float32[b, n]: scores of random videos, -inf for one that is no negative of the row. Of a relevant row they weigh per_positive in sum;
    with n_kept only so many columns count, others for each row."""
    loss = functional.binary_cross_entropy_with_logits(own, is_positive, reduction="none")
    if n_kept is not None:
        row = torch.arange(len(own), device=own.device)[:, None] * n_kept
        kept = (row + torch.arange(n_kept, device=own.device)) % random.shape[1]
        random = random.gather(1, kept)
    is_there = torch.isfinite(random)
    each = functional.softplus(random.masked_fill(~is_there, 0.0)) * is_there
    n_there = is_there.sum(1).clamp_min(1)
    return loss + is_positive * per_positive * each.sum(1) / n_there


def unwatched_loss(own: Tensor, skipped: Tensor) -> Tensor:
    """float32[b]: log(1 + e^(skipped - own)) of scores float32[b]."""
    return functional.softplus(skipped - own)
