"""What viewers did, drawn from what is true: the same law for the written history and for closed loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Bool, Float64
from upnext.simulate.truth import SHARE_A, SHARE_B, SKIP_S, Rates

N_DRAWS: Final = 12  # uniform numbers per showing


@dataclass(frozen=True)
class Outcome:
    """What came of n showings."""

    started: Bool  # [n] clicked, or played by itself
    watch_s: Float64  # [n] 0 where not started
    like: Bool
    share: Bool
    comment: Bool
    follow: Bool
    dislike: Bool
    not_interested: Bool


def outcome(rate: Rates, examined: Float64, draws: Float64) -> Outcome:
    """The outcome of n showings with probability `examined` float64[n] of being looked at, from uniform draws [n, N_DRAWS].

    Common random numbers: the same draws under other rates give the least different outcome (METHODS.md L2).
    """
    u = draws.T
    started = (u[0] < examined) & (u[1] < rate.attract)
    stayed = started & (u[2] >= rate.skip)
    part = (1 - (1 - u[4]) ** (1 / SHARE_B)) ** (1 / SHARE_A)  # inverse of the Kumaraswamy law
    share_watched = np.where(u[3] < rate.complete, 1.0, part * rate.reach)
    skip_s = np.minimum(-SKIP_S * np.log1p(-u[5]), rate.duration_s)
    watch_s = np.where(stayed, share_watched * rate.duration_s, np.where(started, skip_s, 0.0))
    return Outcome(
        started=started,
        watch_s=watch_s,
        like=stayed & (u[6] < rate.like),
        share=stayed & (u[7] < rate.share),
        comment=stayed & (u[8] < rate.comment),
        follow=stayed & (u[9] < rate.follow),
        dislike=started & (u[10] < rate.dislike),
        not_interested=u[11] < rate.not_interested,
    )
