"""Every switch of a world, in one frozen value: which mechanisms act, and how strongly.

A switch at its default leaves the everyday world as it is; 0 turns a mechanism off where the default is 0. What each mechanism does
with its knobs stands in the module named above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from upnext.core.errors import expected
from upnext.simulate.creators import CreatorKnobs

ClickModel = Literal["examination", "additive", "cascade"]
CLICK_MODELS: tuple[ClickModel, ...] = ("examination", "additive", "cascade")


@dataclass(frozen=True)
class Knobs:
    """The switches. Rates are per day, levels are logits, spreads are standard deviations, unless the name says otherwise."""

    # simulate/world.py: what there is
    clickbait_share: float = 0.15  # of videos
    quality_spread: float = 0.45
    audience_spread: float = 1.4  # of the log of a video's reach, beside its creator's
    duration_scale: float = 1.0  # times the category's median
    duration_spread: float = 0.75  # of log seconds
    upload_days: float = 60.0  # videos are uploaded evenly over these last days
    signup_days: tuple[float, float] = (20.0, 900.0)  # viewers signed up between so many days ago
    sessions_level: float = -0.15  # log of the median viewer's sessions a day
    sessions_spread: float = 0.6
    patience_s: float = 150.0  # the median viewer's; much longer videos are seldom finished
    patience_spread: float = 0.7  # of its log
    n_interests: tuple[float, float, float, float] = (0.2, 0.35, 0.3, 0.15)  # P(1 to 4 interests)
    place_shares: tuple[float, ...] = ()  # of the rows of PLACES; (): their own
    # simulate/tables.py and simulate/content.py: what the platform knows of it
    missing_tags: float = 0.06  # share of videos
    stray_tags: float = 0.07  # share of videos with a tag of a topic that isn't theirs
    content_noise: float = 0.5  # length of the noise in a content vector, beside 1 for the topic

    # simulate/truth.py: how much a viewer likes a video
    taste_weight: float = 1.9  # of the best matching interest
    quality_weight: float = 0.9
    own_weight: float = 0.7  # of the noise that belongs to the pair
    fan_weight: float = 1.2  # of favourite creators
    liking_level: float = 1.3
    language_penalty: float = 1.6  # of a language the viewer doesn't speak
    freshness: float = (
        0.0  # logit that a video has at its upload and loses with a half-life of 2 days
    )
    trend: float = 0.0  # logit that a topic gains at the height of its wave, every 20 days
    # ... and what they do with it
    click_level: float = 0.0
    click_weight: float = 0.9  # of liking
    popularity_weight: float = 0.15  # of the log of a video's reach, in clicks
    bait_click: float = 1.8
    bait_skip: float = 1.5
    skip_level: float = -1.1
    skip_s: float = 1.2  # mean seconds of a quick skip
    autoplay_skip: float = 0.8
    complete_level: float = -0.2
    reach_exponent: float = (
        0.35  # of patience over duration: how far a partial watch comes in a long video
    )
    intensity_hold: float = 0.0  # logit of completion that an intense video gains
    glance: float = 0.0  # share of quick skips that last no time
    rewatch: float = 0.0  # P(goes on into a second time | watched to the end)
    like_level: float = -3.6
    share_level: float = -5.5
    comment_level: float = -5.0
    follow_level: float = -5.5
    dislike_rate: float = 0.015
    bait_dislike: float = 0.04  # P(dislike | started) that clickbait adds
    # simulate/behaviour.py: clicks
    click_model: ClickModel = "examination"
    exam_decay: float = 0.08  # P(slot is looked at) = 1 / (1 + decay * slot)
    exam_devices: tuple[float, float, float] = (1.0, 1.0, 1.0)  # times decay: mobile, desktop, tv
    position_logit: float = 0.35  # additive: lost per unit of log(1 + slot)
    cascade_go_on: float = 0.3  # cascade: P(looks further | clicked)
    leave: float = 0.03  # P(leaves after a slot) where videos start by themselves

    # simulate/returning.py: sessions, satisfaction, coming back
    autoplay_share: float = 0.4  # of sessions
    pages_mean: float = 0.9  # further pages of a session, Poisson, at most four
    upnext_share: float = 0.4  # of the further pages of a home session
    bait_regret: float = 0.8  # satisfaction that clickbait costs
    intensity_regret: float = 0.0  # ... and intensity
    satisfaction_memory: float = 0.97  # kept of satisfaction at each watched video
    satisfaction_neutral: float = 0.1  # where a viewer comes neither more nor less often
    return_response: float = 0.0  # log sessions a day per unit of satisfaction
    quit: float = 0.0  # hazard of leaving for good at neutral satisfaction
    quit_response: float = 3.0  # log hazard per unit of satisfaction below neutral
    page_stop: float = 0.0  # P(a session ends early after a page) at neutral pleasure
    stop_response: float = 2.0  # log of that per unit of the page's pleasure
    weekdays: tuple[float, float, float, float, float, float, float] = (1.0,) * 7  # Monday first
    month_trend: float = 0.0  # relative growth of sessions in 30 days
    # simulate/tastes.py: interests that move
    drift: float = 0.0  # hazard of an interest giving way to another, by itself
    susceptibility: float = 0.0  # mean of s_u: how far a watched video pulls its viewer's taste
    pull_rate: float = 0.03  # eta in theta += eta * s_u * watch * topic
    forgetting: float = 0.02  # of that pull, per day

    # simulate/creators.py: creators
    creators_respond: bool = False  # to views and likes, in uploads and in leaving
    # how, and what watching does to a viewer's own creation
    creators: CreatorKnobs = field(default_factory=CreatorKnobs)
    creation_level: float = -4.0  # logit of a viewer's own creation in a day, c_u's mean
    creation_spread: float = 0.5

    def __post_init__(self) -> None:
        if self.click_model not in CLICK_MODELS:
            raise expected("click_model", f"one of {', '.join(CLICK_MODELS)}", self.click_model)
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise expected(name, "a share in 0 to 1", getattr(self, name))


_SHARES = (
    "clickbait_share", "missing_tags", "stray_tags", "cascade_go_on", "leave", "autoplay_share",
    "upnext_share", "glance", "rewatch", "satisfaction_memory", "quit", "page_stop", "drift", "forgetting",
)  # fmt: skip
EVERYDAY = Knobs()  # what `upnext demo` and the tests live in
