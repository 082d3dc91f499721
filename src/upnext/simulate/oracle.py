"""What only the world knows of a platform as it is now: every expectation exact, every potential outcome of it (METHODS.md L3).

Nothing here may be read by a policy or an estimator under test; it is what they are judged by.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Bool, Float64, Int64
from upnext.simulate import behaviour, creators
from upnext.simulate.behaviour import earlier_in_page
from upnext.simulate.creators import Creation
from upnext.simulate.draws import keys_of, uniform
from upnext.simulate.platform import Platform
from upnext.simulate.truth import affinity, rates_in, relevance_of, watch_s_of
from upnext.simulate.visits import SHORTS, Shown

_PAIRS_AT_ONCE = 500_000


def p_examined(platform: Platform, shown: Shown) -> Float64:
    """float64[n]: P(the slot is looked at), given what stands on its page; where videos start by themselves, P(it is reached)."""
    knobs, page, autoplay = platform.world.knobs, shown.page(), shown.surface == SHORTS
    before = _place_in_page(page)
    if knobs.click_model == "additive":
        looked_at = np.ones(len(shown))
    elif knobs.click_model == "examination":
        looked_at = behaviour.examination(knobs, shown.slot, shown.device)
    else:
        ends = np.where(autoplay, 0.0, _p_start(platform, shown)) * (1 - knobs.cascade_go_on)
        stays = np.cumsum(np.log1p(-ends)) - np.log1p(-ends)
        looked_at = np.exp(stays - stays[np.searchsorted(page, page)])
    return np.where(autoplay, (1 - knobs.leave) ** before, looked_at)


def p_click(platform: Platform, shown: Shown) -> Float64:
    """float64[n]: P(the slot's video is started), given what stands on its page."""
    return np.asarray(p_examined(platform, shown) * _p_start(platform, shown), np.float64)


def expected_watch_s(platform: Platform, shown: Shown) -> Float64:
    """float64[n]: mean seconds watched of each slot, given what stands on its page."""
    rate = platform.rates(shown)
    started_s = watch_s_of(platform.world.knobs, rate) / rate.attract
    return np.where(shown.video >= 0, p_click(platform, shown) * started_s, 0.0)


def expected_relevance(platform: Platform, viewer: Int64, video: Int64, day: int) -> Float64:
    """float64[n]: P(liked or watched at least half | examined on a home page as the day begins)."""
    time_us = np.full(len(video), platform.day_start_us(day))
    mood = platform.mood(viewer, video, time_us)
    autoplay = np.zeros(len(video), np.bool_)
    rate = rates_in(platform.world, viewer, video, autoplay, mood)
    return relevance_of(platform.world.knobs, rate)


def ranking(platform: Platform, viewer: int, day: int, k: int) -> Int64:
    """int64[min(k, m)]: the best k of the m published videos that a viewer may be shown, by expected relevance; ties by row."""
    video = platform.published(day)
    who = np.full(len(video), viewer, np.int64)
    video = video[platform.world.allowed_pairs(who, video)]
    relevance = expected_relevance(platform, who[: len(video)], video, day)
    return video[np.argsort(-relevance, kind="stable")[:k]]


def true_rates(platform: Platform, video: Int64, viewer: Int64, day: int) -> Float64:
    """float64[n]: each video's mean expected relevance over those of the viewers int64[m] who may be shown it; NaN where none may."""
    rate = np.full(len(video), np.nan)
    at_once = max(1, _PAIRS_AT_ONCE // max(len(viewer), 1))
    for begin in range(0, len(video), at_once):
        part = video[begin : begin + at_once]
        what, who = np.repeat(part, len(viewer)), np.tile(viewer, len(part))
        fit = platform.world.allowed_pairs(who, what).reshape(len(part), len(viewer))
        relevance = expected_relevance(platform, who, what, day).reshape(fit.shape)
        n = fit.sum(axis=1)
        mean = (relevance * fit).sum(axis=1) / np.maximum(n, 1)
        rate[begin : begin + at_once] = np.where(n > 0, mean, np.nan)
    return rate


def creations(
    platform: Platform, viewer: Int64, video: Int64, day: int, *, horizon_d: int = 7
) -> Creation:
    """Both potential outcomes of n viewers' own creation within horizon_d days: had they watched the video to its end, had they not."""
    world, how = platform.world, platform.world.knobs.creators
    time_us = np.full(len(video), platform.day_start_us(day))
    liked = affinity(world, viewer, video, platform.mood(viewer, video, time_us))
    quality = world.videos.quality[video].astype(float)
    insp = creators.inspiration(how, liked, quality, np.ones(len(video)))
    u = uniform(keys_of(platform.draw_seed, viewer, video, np.full(len(video), day)), "create")
    propensity = world.viewers.creation[viewer].astype(float)
    before = platform.inspired[viewer]
    return creators.potential_creations(how, propensity, before, insp, u, horizon_d=horizon_d)


def _p_start(platform: Platform, shown: Shown) -> Float64:
    autoplay: Bool = shown.surface == SHORTS
    rate = platform.rates(shown)
    p = behaviour.p_start_if_looked_at(platform.world.knobs, rate, shown.slot, autoplay)
    return np.where(shown.video >= 0, p, 0.0)


def _place_in_page(page: Int64) -> Int64:
    """int64[n]: how many rows of its page stand before each row."""
    return earlier_in_page(np.ones(len(page), np.bool_), page)
