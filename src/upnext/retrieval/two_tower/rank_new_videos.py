"""Weights of the blend for new videos that rank them rightly among all videos.

In each of several rounds some trained videos are treated as new, with a share of their viewers revealed, and the others stand where
training put them. A viewer who was not revealed, x, and the video they found relevant make a pair; with z a video's vector (w's blend of
its terms where it is treated as new) and T the network's temperature,

    loss = -log( exp(x.z_own / T) / sum_j exp(x.z_j / T) )   over all videos, both kinds.

Pairs of both kinds count as often as they occur: new videos that crowd out what viewers watch cost as much as new videos that are never
found. The scores are linear in w, so the loss is convex; Newton's method with halved steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Float32, Float64, Int64

REG: Final = 1e-3  # of the squared distance to where the weights start
_STEPS: Final = 30
_HALVINGS: Final = 12


@dataclass(frozen=True)
class Round:
    """p pairs of viewer and video, and j videos treated as new."""

    scores: (
        Float32  # [k, p, j] of the viewers with each term of each new video, over the temperature
    )
    others: Float64  # [p] log of the summed exp of the scores of all other videos
    target: Int64  # [p] which of the j was found relevant; -1: one of the others


def ranked_weights(rounds: Sequence[Round], start: Float64, reg: float = REG) -> Float64:
    """float64[k]: the weights of the least mean loss, held near start float64[k]; start itself without a pair."""
    if not any(len(one.target) for one in rounds):
        return start
    weight, (loss, slope, curve) = start, _loss(rounds, start, start, reg)
    for _ in range(_STEPS):
        step = np.linalg.solve(curve, slope)
        for halving in range(_HALVINGS):
            tried = weight - step / 2**halving
            found = _loss(rounds, tried, start, reg)
            if found[0] < loss:
                break
        else:
            return weight
        gained = loss - found[0]
        weight, (loss, slope, curve) = tried, found
        if gained < 1e-7:
            break
    return weight


def _loss(
    rounds: Sequence[Round], weight: Float64, start: Float64, reg: float
) -> tuple[float, Float64, Float64]:
    """(mean loss less what no weight changes, its slope float64[k], its curvature float64[k, k])."""
    away, n_pairs = weight - start, sum(len(one.target) for one in rounds)
    loss, slope = 0.5 * reg * float(away @ away), reg * away
    curve = reg * np.eye(len(weight))
    for one in rounds:
        score = np.tensordot(weight.astype(np.float32), one.scores, 1).astype(np.float64)
        most = np.maximum(score.max(axis=1, initial=-np.inf), one.others)
        total = np.exp(score - most[:, None]).sum(1) + np.exp(one.others - most)
        log_total = np.log(total) + most
        share = np.exp(score - log_total[:, None]).astype(np.float32)
        is_new = np.flatnonzero(one.target >= 0)
        own = one.scores[:, is_new, one.target[is_new]]
        weighed = one.scores * share
        mean = weighed.sum(2).astype(np.float64)
        flat = one.scores.reshape(len(weight), -1)
        loss += float(log_total.sum() - score[is_new, one.target[is_new]].sum()) / n_pairs
        slope = slope + (mean.sum(1) - own.sum(1)) / n_pairs
        curve = curve + (weighed.reshape(len(weight), -1) @ flat.T - mean @ mean.T) / n_pairs
    return loss, slope, curve
