"""What viewers do with what they are shown: one pure function per mechanism, the same for written histories and closed loops.

Whether a slot is looked at depends on the world's click model: by its position alone (the position-based model, Richardson, Dominowska
& Ragno 2007), as a logit that the position takes from the click ("additive"), or top down until a click ends it (the cascade of Craswell
et al. 2008, with the probability of going on after a click of Guo, Liu & Wang 2009). Where videos start by themselves every slot is met
until the viewer leaves. What is watched, liked and shared follows simulate/truth.py's rates. All draws come from simulate/draws.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Array, Bool, Float64, Int64
from upnext.simulate.knobs import Knobs
from upnext.simulate.truth import AGAIN, SHARE_A, SHARE_B, Rates, logistic

Draws = Mapping[str, Float64]  # of each mechanism, float64[n] in [0, 1): draws.reactions


@dataclass(frozen=True)
class Outcome:
    """What came of n showings."""

    reached: Bool  # [n] the slot came before the viewer's eyes or could have: it is an impression
    examined: Bool  # [n] it was looked at; the platform doesn't know
    started: Bool  # [n] clicked, or played by itself
    watch_s: Float64  # [n] 0 where not started
    like: Bool
    share: Bool
    comment: Bool
    follow: Bool
    dislike: Bool
    not_interested: Bool
    pleasure: Float64  # [n] -1 to 1 what it did to the viewer's satisfaction, 0 where not started; the platform doesn't know

    def take(self, rows: Array) -> Outcome:
        """The showings at positions int64[m] or a mask bool[n]."""
        return Outcome(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def examination(knobs: Knobs, slot: Int64, device: Int64) -> Float64:
    """float64[n]: P(a slot of a page is looked at), slots from 0, in the position-based model."""
    decay = knobs.exam_decay * np.asarray(knobs.exam_devices)[device]
    return np.asarray(1.0 / (1.0 + decay * slot), np.float64)


def position_loss(knobs: Knobs, slot: Int64) -> Float64:
    """float64[n]: the logit that the slot takes from a click in the additive model."""
    return np.asarray(knobs.position_logit * np.log1p(slot), np.float64)


def p_start_if_looked_at(knobs: Knobs, rate: Rates, slot: Int64, autoplay: Bool) -> Float64:
    """float64[n]: P(started | looked at); the slot counts in the additive model alone."""
    if knobs.click_model != "additive":
        return rate.attract
    inner = np.clip(rate.attract, 1e-12, 1 - 1e-12)
    lowered = logistic(np.log(inner / (1 - inner)) - position_loss(knobs, slot))
    return np.where(autoplay, 1.0, lowered)


def earlier_in_page(mark: Bool, page: Int64) -> Int64:
    """int64[n]: how many marks stand before each row in its page (rows of a page stand together, their number ascends)."""
    before: Int64 = np.cumsum(mark) - mark
    return np.asarray(before - before[np.searchsorted(page, page)], np.int64)


def looked_at(knobs: Knobs, p_look: Float64, would_start: Bool, page: Int64, u: Draws) -> Bool:
    """bool[n]: which slots of pages without autoplay are looked at; `p_look` of the position-based model."""
    if knobs.click_model == "additive":
        return np.ones(len(page), np.bool_)
    if knobs.click_model == "examination":
        return np.asarray(u["look"] < p_look, np.bool_)
    ends = would_start & (u["look"] >= knobs.cascade_go_on)
    first: Bool = earlier_in_page(ends, page) == 0  # who ends it was itself looked at
    return first


def outcome(knobs: Knobs, rate: Rates, met: tuple[Bool, Bool, Bool], u: Draws) -> Outcome:
    """The outcome of n showings, given which were (reached, looked at, started), bool[n] each.

    Common random numbers: the same draws under other rates give the least different outcome (METHODS.md L2).
    """
    reached, examined, started = met
    stayed = started & (u["skip"] >= rate.skip)
    part = (1 - (1 - u["share_watched"]) ** (1 / SHARE_B)) ** (
        1 / SHARE_A
    )  # inverse of the Kumaraswamy law
    completed = u["complete"] < rate.complete
    share_watched = np.where(completed, 1.0 + _again(knobs, u), part * rate.reach)
    skip_s = np.minimum(-knobs.skip_s * np.log1p(-u["skip_s"]), rate.duration_s)
    skip_s = np.where(u["glance"] < knobs.glance, 0.0, skip_s)
    watch_s = np.where(stayed, share_watched * rate.duration_s, np.where(started, skip_s, 0.0))
    return Outcome(
        reached=reached,
        examined=examined,
        started=started,
        watch_s=watch_s,
        like=stayed & (u["like"] < rate.like),
        share=stayed & (u["share"] < rate.share),
        comment=stayed & (u["comment"] < rate.comment),
        follow=stayed & (u["follow"] < rate.follow),
        dislike=started & (u["dislike"] < rate.dislike),
        not_interested=reached & (u["not_interested"] < rate.not_interested),
        pleasure=np.zeros(len(started)),
    )


def _again(knobs: Knobs, u: Draws) -> Float64:
    """float64[n]: the share of its length that a video is watched again, exponential, if it was watched to the end."""
    share = -AGAIN * np.log1p(-u["again_share"])
    return np.where(u["again"] < knobs.rewatch, share, 0.0)
