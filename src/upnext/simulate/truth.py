"""What is true in a world: how much each viewer would like each video, and what they would do on seeing it.

The law is not of any model's form (METHODS.md L, pitfalls). Taste is a noisy maximum over a viewer's interests, not a sum: one
strong match is enough, and two weak ones are not. A threshold follows; then quality, favourite creators, age, a language penalty that
music is spared; noise that belongs to the pair (viewer, video) and so can only be learned from that pair. Watching is a mixture: a
quick skip (exponential, mean SKIP_S), completion, or a share of the length from a Kumaraswamy law (1980; its distribution
function is closed, so every expectation here is exact).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Array, Bool, Float64, Int64
from upnext.simulate.world import World, category_of_topic

SURFACES: Final = ("home", "shorts", "upnext")
AUTOPLAY: Final = "shorts"  # there a video starts by itself: no click comes first
SKIP_S: Final = 1.2
SHARE_A, SHARE_B = 1.3, 1.8  # Kumaraswamy: P(share <= x) = 1 - (1 - x^a)^b
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


def rates(world: World, viewer: Int64, video: Int64, surface: str) -> Rates:
    """The rates of n pairs (viewer row, video row) on one surface."""
    videos, viewers = world.videos, world.viewers
    liking = _liking(world, viewer, video)
    bait = videos.clickbait[video].astype(np.float64)
    duration = videos.duration_s[video]
    ease = np.log(viewers.patience_s[viewer] / duration)
    autoplay = surface == AUTOPLAY
    warmth = 1.3 * liking + viewers.generosity[viewer]
    attract = _logistic(0.9 * liking + 1.8 * bait + 0.15 * videos.audience[video])
    return Rates(
        attract=np.ones(len(video)) if autoplay else attract,
        skip=_logistic(-1.0 * liking - 1.1 + 1.5 * bait + 0.8 * autoplay),
        complete=_logistic(0.8 * liking + 0.9 * ease - 0.2),
        like=_logistic(warmth - 3.6),
        share=_logistic(warmth - 5.5),
        comment=_logistic(0.5 * warmth - 5.0),
        follow=_logistic(warmth - 5.5),
        dislike=0.015 * _logistic(-liking) + 0.04 * bait,
        not_interested=0.02 * _logistic(-1.5 * liking - 1.0),
        reach=np.exp(0.35 * np.minimum(ease, 0)),
        duration_s=duration,
        affinity=_logistic(liking),
    )


def affinity(world: World, viewer: Int64, video: Int64) -> Float64:
    """float64[n] in 0 to 1: how much each viewer would like each video, apart from where and how it is shown."""
    return _logistic(_liking(world, viewer, video))


def expected_relevance(world: World, viewer: Int64, video: Int64, surface: str = "home") -> Float64:
    """float64[n]: P(liked or watched at least half | examined), exact."""
    rate = rates(world, viewer, video, surface)
    half = np.minimum(0.5 / rate.reach, 1.0)
    partial_half = (1 - half**SHARE_A) ** SHARE_B
    stayed = rate.complete + (1 - rate.complete) * (1 - (1 - partial_half) * (1 - rate.like))
    skipped = np.exp(-rate.duration_s / 2 / SKIP_S)
    return np.asarray(rate.attract * ((1 - rate.skip) * stayed + rate.skip * skipped), np.float64)


def expected_watch_s(world: World, viewer: Int64, video: Int64, surface: str = "home") -> Float64:
    """float64[n]: mean seconds watched given examined, exact."""
    rate = rates(world, viewer, video, surface)
    skipped = SKIP_S * (1 - np.exp(-rate.duration_s / SKIP_S))
    partial = rate.reach * rate.duration_s * _MEAN_SHARE
    stayed = rate.complete * rate.duration_s + (1 - rate.complete) * partial
    return np.asarray(rate.attract * (rate.skip * skipped + (1 - rate.skip) * stayed), np.float64)


def examination(surface: str, slot: Int64) -> Float64:
    """float64[n]: P(a shown slot is looked at), slots from 0 (the position-based model); on an autoplay surface 1."""
    if surface == AUTOPLAY:
        return np.ones(len(slot))
    return np.asarray(1.0 / (1.0 + 0.08 * slot), np.float64)


def _liking(world: World, viewer: Int64, video: Int64) -> Float64:
    """float64[n], a logit."""
    videos, viewers = world.videos, world.viewers
    category = category_of_topic()
    topic, second = videos.topic[video], videos.second_topic[video]
    interest = viewers.interest[viewer]  # [n, 4]
    share = videos.second_share[video][:, None]
    match = (interest == topic[:, None]) * (1 - share) + (interest == second[:, None]) * share
    sibling = (category[interest] == category[topic][:, None]) & (interest != topic[:, None])
    match = np.maximum(match, 0.3 * sibling) * viewers.strength[viewer]
    noise = np.stack([_noise(world.seed, viewer, video, i) for i in range(interest.shape[1])], 1)
    best = np.where(interest >= 0, match * (1 + 0.35 * noise), 0).max(axis=1)
    kept_back = _language_penalty(world, viewer, video, category[topic])
    fan = _noise(world.seed, viewer, videos.creator[video], 7) > 0.92
    too_old = (category[topic] == _GAMING) & (viewers.age[viewer] > 45)
    own = _noise(world.seed, viewer, video, 8)
    threshold = 1.9 * np.tanh(6.0 * (best - 0.45))
    liking = threshold + 0.9 * videos.quality[video] + 0.7 * own + 1.2 * fan + 1.3
    return np.asarray(liking - 1.2 * too_old - kept_back, np.float64)


def _language_penalty(world: World, viewer: Int64, video: Int64, category: Int64) -> Float64:
    language = world.videos.language[video]
    native: Bool = language == world.viewers.language[viewer]
    second: Bool = language == world.viewers.second_language[viewer]
    penalty = np.select([native, second], [0.0, 0.4], 1.6)
    return np.where(category == _MUSIC, 0.2 * penalty, penalty)


def _noise(seed: int, a: Int64, b: Int64, salt: int) -> Float64:
    """float64[n] in -1 to 1, a function of its arguments alone (splitmix64's finaliser), mean 0."""
    key = np.uint64((seed * 1_000_003 + salt) & 0xFFFFFFFF)
    mixed = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64)
    mixed = (mixed ^ (key << np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(32)
    return np.asarray((mixed >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0, np.float64)


def _logistic(logit: Float64) -> Float64:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), np.float64)


def _mean_share() -> float:
    """The mean of the Kumaraswamy law: b B(1 + 1/a, b)."""
    from math import gamma

    a, b = SHARE_A, SHARE_B
    return b * gamma(1 + 1 / a) * gamma(b) / gamma(1 + 1 / a + b)


_MEAN_SHARE: Final = _mean_share()
