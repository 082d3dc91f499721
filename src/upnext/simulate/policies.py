"""Policies that fill pages from a platform's state: plain ones, one that guesses well, and one that draws as serving does.

A policy is a frozen value; `begin(platform, day)` gives what fills that day's pages, a whole round at once. Draws are keyed by (viewer, visit): a
policy's choices are as reproducible as the world's. A slot's propensity is exact: P(the slot holds its video, given the slots before it, and
given the candidates where a policy draws those first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.errors import expected
from upnext.core.types import Bool, Float64, Int64
from upnext.policy.config import PolicyConfig
from upnext.policy.page import terms_of
from upnext.policy.pages import Requests, draw_pages
from upnext.simulate.content import content_vectors
from upnext.simulate.draws import keys_of, noise
from upnext.simulate.nominate import CHANCE_ALONE, Keep, Mix, Nominations, first_that_fit
from upnext.simulate.platform import Platform
from upnext.simulate.truth import rates_in, relevance_of, watch_s_of
from upnext.simulate.visits import SHORTS, Pages
from upnext.simulate.world import category_of_topic

OLD_MIX = Mix(reach=0.6, chance=0.05, topic=0.35)
SEEN_AGAIN = float(np.exp(-3.0))  # weight of a video shown before, on the old platform


@dataclass(frozen=True)
class Slates:
    """Slates of p pages, at most k slots each."""

    video: Int64  # [p, k] rows of the world, -1 where a slate ends
    propensity: Float64  # [p, k]; NaN where the policy doesn't know


PageMaker = Callable[[Pages], Slates]


class Policy(Protocol):
    """Fills pages, day by day."""

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        ...


@dataclass(frozen=True)
class Random:
    """Every video that a viewer may be shown and was not shown before has the same chance in every slot."""

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        nominations = Nominations(platform, day, CHANCE_ALONE)
        keep = unseen(platform)

        def make(pages: Pages) -> Slates:
            video = _cut(nominations.distinct(pages, _longest(pages), keep), pages)
            left = n_eligible(platform, pages.viewer, day)[:, None] - np.arange(video.shape[1])
            return Slates(video, np.where(video >= 0, 1.0 / np.maximum(left, 1), np.nan))

        return make


@dataclass(frozen=True)
class OldPlatform:
    """The plain platform that wrote the histories: reach, topic and chance, newer videos before older ones; it kept no propensities.

    What weighs most tends to stand on top, so position and appeal are confounded as in real logs."""

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        nominations = Nominations(platform, day, OLD_MIX)
        keep = _old_weight(platform, day)

        def make(pages: Pages) -> Slates:
            video = _cut(nominations.distinct(pages, _longest(pages), keep), pages)
            return Slates(video, np.full(video.shape, np.nan))

        return make


@dataclass(frozen=True)
class Popular:
    """The videos started most often before the day began, that the viewer may be shown and was not shown before."""

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        video = platform.published(day)
        best = video[np.argsort(-platform.n_started[video], kind="stable")]

        def make(pages: Pages) -> Slates:
            return _certain(_cut(_first_of(platform, best, pages), pages))

        return make


Aim = Literal["relevance", "watch", "satisfaction"]


@dataclass(frozen=True)
class Greedy:
    """The best guessed of some candidates: what is expected of each pair, blurred by a noise that stays, as a learned model's error does."""

    aim: Aim = "relevance"
    error: float = 0.5  # standard deviations of the aim over a page's candidates
    n_candidates: int = 60

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        nominations = Nominations(platform, day, OLD_MIX)
        keep = unseen(platform)

        def make(pages: Pages) -> Slates:
            found = nominations.distinct(pages, self.n_candidates, keep)
            value = guesses(platform, pages, found, self.aim, self.error)
            order = np.argsort(-value, axis=1, kind="stable")
            ranked = np.take_along_axis(found, order, axis=1)[:, : _longest(pages)]
            return _certain(_cut(ranked, pages))

        return make


@dataclass(frozen=True)
class Served:
    """Guesses as Greedy does, and draws the page as serving does (policy/plackett_luce.py): softly, mixed, capped, with exact propensities."""

    aim: Aim = "relevance"
    error: float = 0.5
    n_candidates: int = 60
    config: PolicyConfig = field(default_factory=PolicyConfig)

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        nominations = Nominations(platform, day, OLD_MIX)
        keep, terms, videos = unseen(platform), terms_of(self.config), platform.world.videos
        category = category_of_topic()[videos.topic]
        vectors = content_vectors(platform.world)

        def make(pages: Pages) -> Slates:
            found = nominations.distinct(pages, self.n_candidates, keep)
            n_found = (found >= 0).sum(axis=1)
            found = _ascending(found)
            value = guesses(platform, pages, found, self.aim, self.error).astype(np.float32)
            requests = Requests(value, found, n_found, videos.creator, category, vectors)
            keys = keys_of(platform.draw_seed, pages.viewer, pages.visit)
            column, propensity, _ = draw_pages(terms, requests, keys, _longest(pages))
            video = np.take_along_axis(found, np.maximum(column, 0), axis=1)
            video = _cut(np.where(column >= 0, video, -1), pages)
            return Slates(video, np.where(video >= 0, propensity, np.nan))

        return make


POLICIES: Final[Mapping[str, Policy]] = {
    "old": OldPlatform(),
    "random": Random(),
    "popular": Popular(),
    "greedy": Greedy(),
    "watch": Greedy(aim="watch"),
    "satisfaction": Greedy(aim="satisfaction"),
    "served": Served(),
}


def policy_of(name: str) -> Policy:
    """The policy of that name. Raises InvalidInput for a name not in POLICIES."""
    if name not in POLICIES:
        raise expected("policy", f"one of {', '.join(POLICIES)}", name)
    return POLICIES[name]


def guesses(platform: Platform, pages: Pages, video: Int64, aim: Aim, error: float) -> Float64:
    """float64[p, n]: the guessed value of each candidate int64[p, n]; -inf where there is none (-1)."""
    at, place = np.nonzero(video >= 0)
    viewer, drawn = pages.viewer[at], video[at, place]
    knobs = platform.world.knobs
    mood = platform.mood(viewer, drawn, pages.time_us[at])
    rate = rates_in(platform.world, viewer, drawn, pages.surface[at] == SHORTS, mood)
    if aim == "relevance":
        aimed = relevance_of(knobs, rate)
    elif aim == "watch":
        aimed = watch_s_of(knobs, rate)
    else:
        bait = platform.world.videos.clickbait[drawn]
        aimed = rate.attract * (2 * rate.affinity - 1 - knobs.bait_regret * bait)
    value = np.full(video.shape, -np.inf)
    blur = error * float(aimed.std()) * np.sqrt(3.0) if len(aimed) else 0.0
    value[at, place] = aimed + blur * noise(platform.world.seed, viewer, drawn, 9)
    return value


def unseen(platform: Platform) -> Keep:
    """1 for what a viewer may be shown and was not shown before, else 0."""

    def keep(viewer: Int64, video: Int64, time_us: Int64) -> Float64:
        fit = platform.world.allowed_pairs(viewer, video) & ~platform.seen(viewer, video)
        return fit.astype(np.float64)

    return keep


def n_eligible(platform: Platform, viewer: Int64, day: int) -> Int64:
    """int64[n]: how many videos `unseen` leaves to each viewer."""
    kinds, kind = np.unique(platform.world.viewer_kind[viewer], return_inverse=True)
    one_of = np.unique(platform.world.viewer_kind, return_index=True)
    example = one_of[1][np.searchsorted(one_of[0], kinds)]
    allowed = platform.world.allowed(example)[:, platform.published(day)].sum(axis=1)
    return np.asarray(allowed[kind] - platform.n_seen(viewer), np.int64)


def _old_weight(platform: Platform, day: int) -> Keep:
    age_d = (platform.day_start_us(day) - platform.world.videos.uploaded_us) / DAY_US
    fresh = 0.15 + 0.85 * np.exp(-np.maximum(age_d, 0) / 7)

    def keep(viewer: Int64, video: Int64, time_us: Int64) -> Float64:
        again = np.where(platform.seen(viewer, video), SEEN_AGAIN, 1.0)
        return np.asarray(fresh[video] * again * platform.world.allowed_pairs(viewer, video))

    return keep


def _first_of(platform: Platform, best: Int64, pages: Pages) -> Int64:
    """int64[p, k]: the first videos of a common order that each viewer may be shown and was not shown before."""
    k = _longest(pages)
    found = np.full((len(pages), k), -1, np.int64)
    short, n, keep = np.arange(len(pages)), 4 * k, unseen(platform)
    while len(short):
        top = best[:n]
        viewer, video = np.repeat(pages.viewer[short], len(top)), np.tile(top, len(short))
        fit = keep(viewer, video, video).reshape(len(short), len(top)) > 0
        found[short] = first_that_fit(np.tile(top, (len(short), 1)), fit, k)
        short = short[found[short, -1] < 0] if n < len(best) else short[:0]
        n *= 4
    return found


def _ascending(video: Int64) -> Int64:
    """int64[p, n]: each row ascending, with -1 at its end."""
    last = np.iinfo(np.int64).max
    ranked = np.sort(np.where(video < 0, last, video), axis=1)
    return np.where(ranked == last, -1, ranked)


def _longest(pages: Pages) -> int:
    return int(pages.n_slots.max(initial=0))


def _cut(video: Int64, pages: Pages) -> Int64:
    """The slates, each as long as its page."""
    fits: Bool = np.arange(video.shape[1]) < pages.n_slots[:, None]
    return np.where(fits, video, -1)


def _certain(video: Int64) -> Slates:
    return Slates(video, np.where(video >= 0, 1.0, np.nan))
