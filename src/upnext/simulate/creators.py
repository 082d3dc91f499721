"""Why people upload: mechanisms of creators, and of viewers who become creators (METHODS.md H1, L1, L2).

Two quantities are true here and can be asked for. Reward: a creator's utility is concave in views and likes, the first ones matter most, and
with it go how often they upload, how good it is, what about, and whether they leave. Inspiration: watching a video raises the viewer's own
chance to create for some days,

    hazard(u, t) = sigma(c_u + sum over recent watches of insp(v, u) 2^(-age / half-life)).

Every function takes arrays and, where something is drawn, the uniform numbers of the draw. The same numbers under another policy give the
least different world (common random numbers), and both potential outcomes of one watch come from one number. Nothing is kept between calls.
Letters: c creators, m videos, u viewers, w watches, n pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc, ndtri

from upnext.core.types import Bool, Float64, Int64


@dataclass(frozen=True)
class CreatorKnobs:
    """How strongly creators and viewers respond; the defaults are of a platform where half of the reward is had at 20 views a week."""

    memory_d: float = 5.0  # half-life of remembered views and likes
    half_views: float = 20.0  # remembered views that give half of the reward of views
    half_likes: float = 2.0
    like_share: float = 0.4  # of the utility; the rest is views
    uploads_per_day: float = 0.25  # of a creator of zeal 0 at utility 1
    listless: float = 0.15  # share of that at utility 0
    eagerness: float = 1.0  # a newcomer uploads 1 + eagerness times as often
    eager_d: float = 7.0  # half-life of that
    max_uploads: int = 5  # a day
    exit_per_day: float = 0.10  # of an established creator at utility 0
    exit_power: float = 2.0  # P(exit) falls as (1 - utility) ** exit_power
    grace_d: float = 4.0  # newcomers wait: half of the exit rate after so many days
    effort: float = 0.4  # quality (before tanh) that utility 1 adds over utility 0
    craft_d: float = 60.0  # days in which half of `craft` is learned
    craft: float = 0.3
    quality_noise: float = 0.45
    inspiration: float = 1.2  # logit that a full watch of a perfectly liked video adds
    inspiration_d: float = 2.0  # half-life of it


# ---- reward: what exposure does to a creator


def remembered(knobs: CreatorKnobs, before: Float64, today: Float64) -> Float64:
    """float64[c]: yesterday's remembered views (or likes), a day older, and today's."""
    return np.asarray(before * 2.0 ** (-1.0 / knobs.memory_d) + today, np.float64)


def utility(knobs: CreatorKnobs, views: Float64, likes: Float64) -> Float64:
    """float64[c] in 0 to 1, concave in remembered views float64[c] and likes float64[c]; 0 without any."""
    seen = views / (views + knobs.half_views)
    liked = likes / (likes + knobs.half_likes)
    return np.asarray((1 - knobs.like_share) * seen + knobs.like_share * liked, np.float64)


def marginal_utility(
    knobs: CreatorKnobs, views: Float64, likes: Float64, p_like: float | Float64
) -> Float64:
    """float64[c]: what one more view adds, when a view brings a like with probability p_like (d utility / d exposure)."""
    seen = knobs.half_views / (views + knobs.half_views) ** 2
    liked = knobs.half_likes / (likes + knobs.half_likes) ** 2
    total = (1 - knobs.like_share) * seen + knobs.like_share * p_like * liked
    return np.asarray(total, np.float64)


def kept_up(knobs: CreatorKnobs, utility: Float64) -> Float64:
    """float64[c]: the share of the uploads of a creator at utility 1 that one at this utility still makes."""
    return np.asarray(knobs.listless + (1 - knobs.listless) * utility, np.float64)


def upload_rate(knobs: CreatorKnobs, zeal: Float64, utility: Float64, tenure_d: Float64) -> Float64:
    """float64[c]: mean uploads of a day, before the cap; zeal float64[c] is the creator's own log rate, tenure in days since joining."""
    fresh = 1 + knobs.eagerness * 2.0 ** (-tenure_d / knobs.eager_d)
    rate = knobs.uploads_per_day * np.exp(zeal) * kept_up(knobs, utility) * fresh
    return np.asarray(rate, np.float64)


def n_uploads(knobs: CreatorKnobs, rate: Float64, draws: Float64) -> Int64:
    """int64[c]: uploads of a day, at most knobs.max_uploads: the inverse of Poisson's distribution at draws float64[c] in [0, 1).

    A higher rate never gives fewer with the same draw."""
    k = np.arange(knobs.max_uploads)
    at_most = gammaincc(k + 1.0, rate[:, None])  # P(Poisson(rate) <= k), [c, max_uploads]
    return np.asarray((draws[:, None] >= at_most).sum(axis=1), np.int64)


def exit_probability(knobs: CreatorKnobs, utility: Float64, tenure_d: Float64) -> Float64:
    """float64[c]: P(leaves today for good)."""
    settled = 1 - 2.0 ** (-tenure_d / knobs.grace_d)
    return np.asarray(knobs.exit_per_day * settled * (1 - utility) ** knobs.exit_power, np.float64)


def leaves(probability: Float64, draws: Float64) -> Bool:
    """bool[c]: who leaves, from draws float64[c] in [0, 1)."""
    return np.asarray(draws < probability, np.bool_)


# ---- how good a new video is


def video_quality(
    knobs: CreatorKnobs, talent: Float64, utility: Float64, tenure_d: Float64, draws: Float64
) -> Float64:
    """float64[m] in -1 to 1: talent float64[m], effort that utility pays for, craft that comes with tenure, luck from draws float64[m] in (0, 1)."""
    learned = knobs.craft * (1 - 2.0 ** (-tenure_d / knobs.craft_d))
    luck = knobs.quality_noise * ndtri(np.clip(draws, 1e-12, 1 - 1e-12))
    return np.asarray(np.tanh(talent + knobs.effort * utility + learned + luck), np.float64)


# ---- inspiration: what watching does to the viewer's own creation


def inspiration(
    knobs: CreatorKnobs, affinity: Float64, quality: Float64, watched_share: Float64
) -> Float64:
    """float64[n]: insp(v, u) in logits, at least 0: much where a liked video (affinity in 0 to 1) was watched to its end.

    A flawless video (quality 1) inspires less than a plain one (-1): what looks easy is copied."""
    liked = affinity * affinity
    easy = 1 - 0.25 * (quality + 1)
    return np.asarray(knobs.inspiration * liked * easy * watched_share, np.float64)


def inspired(
    knobs: CreatorKnobs, viewer: Int64, insp: Float64, age_d: Float64, n_viewers: int
) -> Float64:
    """float64[u]: the sum over w recent watches (viewer int64[w], insp float64[w], age_d float64[w] days ago) of what is left of each."""
    left = insp * 2.0 ** (-age_d / knobs.inspiration_d)
    return np.bincount(viewer, left, n_viewers).astype(np.float64)


def creation_hazard(propensity: Float64, inspired: Float64) -> Float64:
    """float64[u]: P(creates today) = sigma(c_u + inspired); propensity c_u in logits."""
    return np.asarray(1.0 / (1.0 + np.exp(-(propensity + inspired))), np.float64)


def creation_within(
    knobs: CreatorKnobs, propensity: Float64, inspired: Float64, horizon_d: int
) -> Float64:
    """float64[n]: P(creates at least once in the next horizon_d days), with inspiration fading and no further watch."""
    fading = 2.0 ** (-np.arange(horizon_d) / knobs.inspiration_d)
    hazard = creation_hazard(propensity[:, None], inspired[:, None] * fading)
    return np.asarray(1 - np.prod(1 - hazard, axis=1), np.float64)


@dataclass(frozen=True)
class Creation:
    """Both potential outcomes of n viewers deciding on one video each: had they watched it, had they not."""

    p_watched: Float64  # [n] P(creates within the horizon | do(watch))
    p_skipped: Float64  # [n] P(creates within the horizon | do(not watch))
    if_watched: Bool  # [n] the outcome itself, from the pair's own draw
    if_skipped: Bool

    @property
    def tau(self) -> Float64:
        """float64[n]: the true uplift tau(u, v)."""
        return self.p_watched - self.p_skipped

    def observed(self, watched: Bool) -> Bool:
        """bool[n]: the outcome of those that a log shows, given who watched."""
        return np.where(watched, self.if_watched, self.if_skipped)


def potential_creations(
    knobs: CreatorKnobs,
    propensity: Float64,
    inspired_before: Float64,
    insp: Float64,
    draws: Float64,
    *,
    horizon_d: int = 7,
) -> Creation:
    """The creation of n viewers within horizon_d days under do(watch) and do(not watch), both from the same draws float64[n] in [0, 1)."""
    watched = creation_within(knobs, propensity, inspired_before + insp, horizon_d)
    skipped = creation_within(knobs, propensity, inspired_before, horizon_d)
    return Creation(watched, skipped, draws < watched, draws < skipped)
