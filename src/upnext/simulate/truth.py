"""What is true in a world: how much each viewer would like each video, and what they would do on seeing it.

The law is not of any model's form (METHODS.md L, pitfalls). Taste is a noisy maximum over a viewer's interests, not a sum: one
strong match is enough, and two weak ones are not. A threshold follows; then quality, favourite creators, age, a language penalty that
music is spared; noise that belongs to the pair (viewer, video) and so can only be learned from that pair. Watching is a mixture: a
quick skip (exponential), completion, or a share of the length from a Kumaraswamy law (1980; its distribution
function is closed, so every expectation here is exact).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.simulate.draws import noise
from upnext.simulate.knobs import Knobs
from upnext.simulate.world import World, category_of_topic

SURFACES: Final = ("home", "shorts", "upnext")
AUTOPLAY: Final = "shorts"  # there a video starts by itself: no click comes first
SHARE_A, SHARE_B = 1.3, 1.8  # Kumaraswamy: P(share <= x) = 1 - (1 - x^a)^b
AGAIN: Final = 0.5  # mean share of its length that a video watched again is watched again
_MUSIC, _GAMING = 2, 3  # categories


@dataclass(frozen=True)
class Rates:
    """What n viewers would do with n videos; all but the last three are probabilities."""

    attract: Float64  # [n] P(click | examined); 1 on an autoplay surface
    skip: Float64  # [n] P(quick skip | started)
    complete: Float64  # [n] P(watched to the end | started, not skipped)
    like: Float64  # [n] given started, not skipped; so are share, comment, follow
    share: Float64
    comment: Float64
    follow: Float64
    dislike: Float64  # [n] given started
    not_interested: Float64  # [n] given shown
    reach: Float64  # [n] the largest share that a partial watch comes to
    duration_s: Float64  # [n]
    affinity: Float64  # [n] 0 to 1

    def take(self, rows: Array) -> Rates:
        """The rows at positions int64[m]."""
        return Rates(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Mood:
    """What moves viewers beside the world as it was made."""

    taste: Float32  # [u, 32] of every viewer of the world, as World.taste
    shift: Float64  # [n] logit of liking that the hour adds to each pair


def rates(world: World, viewer: Int64, video: Int64, surface: str) -> Rates:
    """The rates of n pairs (viewer row, video row) on one surface, nothing having moved yet."""
    return rates_in(world, viewer, video, np.full(len(video), surface == AUTOPLAY), None)


def rates_in(world: World, viewer: Int64, video: Int64, autoplay: Bool, mood: Mood | None) -> Rates:
    """The rates of n pairs where videos do or don't start by themselves, bool[n]; `mood` None: nothing has moved."""
    videos, viewers, knobs = world.videos, world.viewers, world.knobs
    liking = liking_of(world, viewer, video, mood)
    bait = videos.clickbait[video].astype(np.float64)
    duration = videos.duration_s[video]
    ease = np.log(viewers.patience_s[viewer] / duration)
    held = knobs.intensity_hold * videos.intensity[video]
    warmth = 1.3 * liking + viewers.generosity[viewer]
    clicks = knobs.click_weight * liking + knobs.bait_click * bait
    clicks = clicks + knobs.popularity_weight * videos.audience[video] + knobs.click_level
    skips = -1.0 * liking + knobs.skip_level + knobs.bait_skip * bait
    p = logistic(
        np.stack(
            [
                clicks,
                skips + knobs.autoplay_skip * autoplay,
                0.8 * liking + 0.9 * ease + knobs.complete_level + held,
                warmth + knobs.like_level,
                warmth + knobs.share_level,
                0.5 * warmth + knobs.comment_level,
                warmth + knobs.follow_level,
                -liking,
                -1.5 * liking - 1.0,
                liking,
            ]
        )
    )
    return Rates(
        attract=np.where(autoplay, 1.0, p[0]),
        skip=p[1],
        complete=p[2],
        like=p[3],
        share=p[4],
        comment=p[5],
        follow=p[6],
        dislike=knobs.dislike_rate * p[7] + knobs.bait_dislike * bait,
        not_interested=0.02 * p[8],
        reach=np.exp(knobs.reach_exponent * np.minimum(ease, 0)),
        duration_s=duration,
        affinity=p[9],
    )


def affinity(world: World, viewer: Int64, video: Int64, mood: Mood | None = None) -> Float64:
    """float64[n] in 0 to 1: how much each viewer would like each video, apart from where and how it is shown."""
    return logistic(liking_of(world, viewer, video, mood))


def expected_relevance(world: World, viewer: Int64, video: Int64, surface: str = "home") -> Float64:
    """float64[n]: P(liked or watched at least half | examined), exact."""
    return relevance_of(world.knobs, rates(world, viewer, video, surface))


def expected_watch_s(world: World, viewer: Int64, video: Int64, surface: str = "home") -> Float64:
    """float64[n]: mean seconds watched given examined, exact."""
    return watch_s_of(world.knobs, rates(world, viewer, video, surface))


def relevance_of(knobs: Knobs, rate: Rates) -> Float64:
    """float64[n]: P(liked or watched at least half | examined) under these rates, exact."""
    half = np.minimum(0.5 / rate.reach, 1.0)
    partial_half = (1 - half**SHARE_A) ** SHARE_B
    stayed = rate.complete + (1 - rate.complete) * (1 - (1 - partial_half) * (1 - rate.like))
    skipped = (1 - knobs.glance) * np.exp(-rate.duration_s / 2 / knobs.skip_s)
    return np.asarray(rate.attract * ((1 - rate.skip) * stayed + rate.skip * skipped), np.float64)


def watch_s_of(knobs: Knobs, rate: Rates) -> Float64:
    """float64[n]: mean seconds watched given examined under these rates, exact."""
    skipped = knobs.skip_s * (1 - np.exp(-rate.duration_s / knobs.skip_s)) * (1 - knobs.glance)
    partial = rate.reach * rate.duration_s * _MEAN_SHARE
    whole = (1 + knobs.rewatch * AGAIN) * rate.duration_s
    stayed = rate.complete * whole + (1 - rate.complete) * partial
    return np.asarray(rate.attract * (rate.skip * skipped + (1 - rate.skip) * stayed), np.float64)


def liking_of(world: World, viewer: Int64, video: Int64, mood: Mood | None = None) -> Float64:
    """float64[n]: the logit of affinity."""
    videos, viewers, knobs = world.videos, world.viewers, world.knobs
    category = category_of_topic()[videos.topic[video]]
    best = _best_match(world, viewer, video, world.taste if mood is None else mood.taste)
    kept_back = _language_penalty(world, viewer, video, category)
    fan = noise(world.seed, viewer, videos.creator[video], 7) > 0.92
    too_old = (category == _GAMING) & (viewers.age[viewer] > 45)
    own = noise(world.seed, viewer, video, 8)
    threshold = knobs.taste_weight * np.tanh(6.0 * (best - 0.45))
    liking = threshold + knobs.quality_weight * videos.quality[video] + knobs.own_weight * own
    liking = liking + knobs.fan_weight * fan + knobs.liking_level
    liking = liking - 1.2 * too_old - kept_back
    return np.asarray(liking if mood is None else liking + mood.shift, np.float64)


def _best_match(world: World, viewer: Int64, video: Int64, taste: Float32) -> Float64:
    """float64[n]: the best of each viewer's interests for each video, blurred by a noise of its own."""
    other, near = (each[video] for each in world.matching)  # [n, 5]
    who, what = viewer[:, None], video[:, None]
    blur = 1 + 0.35 * noise(world.seed, who, what, world.taste_salt[who, other].astype(np.int64))
    return np.asarray((near * taste[who, other] * blur).max(axis=1), np.float64)


def _language_penalty(world: World, viewer: Int64, video: Int64, category: Int64) -> Float64:
    language = world.videos.language[video]
    native: Bool = language == world.viewers.language[viewer]
    second: Bool = language == world.viewers.second_language[viewer]
    penalty = world.knobs.language_penalty * np.where(native, 0.0, np.where(second, 0.25, 1.0))
    return np.where(category == _MUSIC, 0.2 * penalty, penalty)


def logistic(logit: Float64) -> Float64:
    """float64[n]: the probability of each logit."""
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), np.float64)


def _mean_share() -> float:
    """The mean of the Kumaraswamy law: b B(1 + 1/a, b)."""
    from math import gamma

    a, b = SHARE_A, SHARE_B
    return b * gamma(1 + 1 / a) * gamma(b) / gamma(1 + 1 / a + b)


_MEAN_SHARE: Final = _mean_share()
