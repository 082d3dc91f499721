"""The worlds by name: each one's knobs, what it is for, and which method it is meant to break.

Never tune on the world that judges, and report on three at least: an easy one, an adversarial one, and one whose marginals are those of
real logs (METHODS.md L, pitfalls). A falsification world is one in which a method must fail: a method that wins there is measured wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

from upnext.core.errors import expected
from upnext.simulate.creators import CreatorKnobs
from upnext.simulate.knobs import EVERYDAY, Knobs


@dataclass(frozen=True)
class NamedWorld:
    """A world's knobs and what they are for."""

    name: str
    knobs: Knobs
    says: str
    falsifies: str = ""  # the method that must fail here, and why; "": none


def _world(name: str, says: str, falsifies: str = "", **knobs: object) -> NamedWorld:
    return NamedWorld(name, replace(EVERYDAY, **knobs), says, falsifies)  # type: ignore[arg-type]


WORLDS: Final[tuple[NamedWorld, ...]] = (
    NamedWorld("everyday", EVERYDAY, "what the demo and most tests live in; tastes stand still"),
    _world(
        "easy",
        "strong tastes, little noise, honest titles and tags: what is easy must be easy",
        own_weight=0.25,
        clickbait_share=0.0,
        missing_tags=0.0,
        stray_tags=0.0,
        content_noise=0.1,
        taste_weight=2.6,
        drift=0.0,
    ),
    _world(
        "adversarial",
        "weak tastes that move, much noise, much clickbait, wrong tags, steep positions",
        "a guess from what a video is about: little more than a coin",
        own_weight=1.6,
        taste_weight=1.2,
        clickbait_share=0.35,
        missing_tags=0.25,
        stray_tags=0.3,
        content_noise=2.0,
        exam_decay=0.35,
        drift=0.02,
        popularity_weight=0.5,
        return_response=0.8,
        quit=0.004,
    ),
    _world(
        "kuairand",
        "marginals near those of KuaiRand-Pure; every video plays by itself",
        autoplay_share=1.0,
        sessions_level=0.2,
        pages_mean=0.3,
        audience_spread=2.0,
        duration_scale=0.6,
        duration_spread=0.5,
        patience_s=75.0,
        patience_spread=0.42,
        skip_level=-0.17,
        autoplay_skip=0.72,
        skip_s=2.7,
        glance=0.08,
        complete_level=-2.4,
        reach_exponent=0.7,
        rewatch=0.6,
        like_level=-6.9,
        share_level=-10.2,
        comment_level=-6.75,
        follow_level=-9.8,
        dislike_rate=0.0017,
        bait_dislike=0.0017,
    ),
    _world(
        "examination",
        "the position-based model: slots are looked at or not, by position and device",
        "the additive position tower: the logit's shift differs from video to video",
        exam_decay=0.25,
        exam_devices=(1.0, 0.6, 1.6),
    ),
    _world(
        "additive",
        "a position takes the same logit from every video",
        "dividing clicks by examination: sure clicks lose little, doubtful ones much",
        click_model="additive",
        position_logit=0.8,
    ),
    _world(
        "cascade",
        "viewers read from the top and mostly stop at a click",
        "debiasing by position alone, dividing or by logit: what stands above decides",
        click_model="cascade",
        cascade_go_on=0.1,
    ),
    _world(
        "clickbait",
        "a third of the videos lure; they are watched, regretted, and cost tomorrow",
        "a value of watch time alone: it earns today and loses viewers",
        clickbait_share=0.35,
        bait_click=2.5,
        bait_skip=-0.5,
        bait_regret=1.6,
        return_response=1.5,
        quit=0.004,
    ),
    _world(
        "rabbit_hole",
        "what is watched pulls its viewer's taste; intense videos hold",
        "an evaluation that takes tastes as given: what was shown has moved them",
        susceptibility=1.0,
        intensity_hold=0.8,
        intensity_regret=0.4,
    ),
    _world(
        "creators",
        "creators upload for views and likes, and leave without them",
        "a value of viewers alone: more creators leave than with a term for their gain",
        creators_respond=True,
        upload_days=40.0,
        creators=CreatorKnobs(exit_per_day=0.3),
    ),
    _world(
        "living",
        "a month changes everything: viewers come back if content, creators upload if seen",
        creators_respond=True,
        upload_days=40.0,
        return_response=0.8,
        quit=0.004,
    ),
    _world(
        "interference",
        "creators compete for few slots, so that one arm's gain is the other's loss",
        "the naive test by creator: a boost of half is taken from the other half",
        creators_respond=True,
        upload_days=40.0,
        sessions_level=-0.6,
    ),
    _world(
        "seasonality",
        "weekends, a growing month, and topics that come and go in waves",
        "before against after: the calendar looks like an effect",
        weekdays=(0.8, 0.8, 0.85, 0.9, 1.1, 1.4, 1.3),
        month_trend=0.3,
        trend=1.0,
    ),
    _world(
        "cold_start",
        "nearly all videos and two thirds of the viewers come during the month",
        "identifiers alone: of most that is shown ten days later, video or viewer has no past",
        upload_days=33.0,
        signup_days=(0.0, 45.0),
        freshness=0.8,
    ),
    _world(
        "one_taste",
        "every viewer likes the same videos",
        "personalisation: popularity is the best there is",
        taste_weight=0.0,
        own_weight=0.0,
        fan_weight=0.0,
        language_penalty=0.0,
        quality_weight=2.5,
    ),
    _world(
        "own_tastes",
        "what a viewer likes tells nothing about anybody else, nor about the video's topic",
        "collaborative and content-based filtering, and popularity: there is nothing to share",
        taste_weight=0.0,
        quality_weight=0.0,
        fan_weight=0.0,
        language_penalty=0.0,
        own_weight=2.5,
        popularity_weight=0.0,
        clickbait_share=0.0,
    ),
)


def world_of(name: str) -> NamedWorld:
    """The world of that name. Raises InvalidInput that suggests the nearest name."""
    for world in WORLDS:
        if world.name == name:
            return world
    names = [world.name for world in WORLDS]
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    wanted = f"{near[0]!r}?" if near else f"one of {', '.join(names)}"
    raise expected("world", wanted, name)
