"""A platform that lives: who comes, what they do with what they are shown, and what that makes of them, of creators and of tomorrow.

    platform = Platform(world, days=30)
    for day in range(30):
        for page-makers, in any way: sessions(day) -> shown -> respond(shown) -> absorb(shown, outcome)
        platform.end_day(day)

`respond` is pure: it reads the state and changes nothing. `absorb` and `end_day` change it. Days count from 0; day `days` begins at the world's
end_us, so that the last upload falls into the run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from upnext.core.clock import DAY_US
from upnext.core.randomness import key_of
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.simulate import behaviour, creators, returning, tastes
from upnext.simulate.behaviour import Outcome
from upnext.simulate.draws import UInt64, keys_of, reactions, uniform
from upnext.simulate.truth import Mood, Rates, affinity, rates_in
from upnext.simulate.visits import SHORTS, Sessions, Shown, sessions_of
from upnext.simulate.world import World, check_days

FRESH_HALF_LIFE_D = 2.0
TREND_PERIOD_D = 20.0
LOOK_S = 1.0  # seconds between two slots that are not watched


class Platform:
    """The state of a world on one day of its life."""

    def __init__(self, world: World, *, days: int = 30, chance: int = 0) -> None:
        """`chance`: which of the lives of this world; another one is the same world with other draws. Raises InvalidInput for such `days`."""
        check_days(days)
        n_viewers, n_videos, n_creators = world.n_viewers, world.n_videos, world.n_creators
        self.world = world
        self.draw_seed = world.seed if chance == 0 else key_of(world.seed, "chance", chance)
        self.start_us = world.end_us - days * DAY_US
        self.drift: Float32 = world.taste  # [u, 32] tastes without what was shown
        self.pull: Float32 = np.zeros_like(world.taste)  # [u, 32] what was shown added to them
        self._tasted = (self.drift, self.pull, self.drift)  # both parts, and them together
        self.satisfaction: Float64 = np.full(n_viewers, world.knobs.satisfaction_neutral)
        self.is_active: Bool = np.ones(n_viewers, np.bool_)  # has not left for good
        self.inspired: Float64 = np.zeros(n_viewers)  # added to c_u by what they watched lately
        self.n_created: Int64 = np.zeros(n_viewers, np.int64)  # own creations so far
        self.creator_alive: Bool = np.ones(n_creators, np.bool_)
        first = world.knobs.creators  # creators begin with half of the reward of each
        self.creator_views: Float64 = np.full(n_creators, first.half_views)  # remembered starts
        self.creator_likes: Float64 = np.full(n_creators, first.half_likes)
        self._views_today: Float64 = np.zeros(n_creators)
        self._likes_today: Float64 = np.zeros(n_creators)
        self._creator_since_us = _first_uploads(world)
        self.is_published: Bool = world.videos.uploaded_us < self.start_us
        self.n_shown: Int64 = np.zeros(n_videos, np.int64)  # per video, so far
        self.n_started: Int64 = np.zeros(n_videos, np.int64)
        self.n_liked: Int64 = np.zeros(n_videos, np.int64)
        self.watch_s: Float64 = np.zeros(n_videos)
        self._seen: npt.NDArray[np.uint8] = np.zeros((n_viewers, (n_videos + 7) // 8), np.uint8)
        self._phase = uniform(keys_of(world.seed, np.arange(32)), "topic_wave")

    @property
    def taste(self) -> Float32:
        """float32[u, 32] in 0 to 1: how strongly each viewer is drawn to each topic now."""
        drift, pull, taste = self._tasted
        if drift is not self.drift or pull is not self.pull:
            taste = tastes.taste_of(self.drift, self.pull)
            self._tasted = (self.drift, self.pull, taste)
        return taste

    def day_start_us(self, day: int) -> int:
        """When a day begins."""
        return self.start_us + day * DAY_US

    def published(self, day: int) -> Int64:
        """int64[m]: the videos that may be shown on a day: uploaded before it began, and not held back by a creator who had left."""
        before = self.world.videos.uploaded_us < self.day_start_us(day)
        return np.flatnonzero(self.is_published & before)

    def sessions(self, day: int) -> Sessions:
        """The day's sessions in order of time."""
        knobs, start_us = self.world.knobs, self.day_start_us(day)
        weekday = (start_us // DAY_US + 3) % 7  # 1970-01-01 was a Thursday
        usual = self.world.viewers.sessions_per_day.astype(float) * returning.season(
            knobs, day, weekday
        )
        mean = returning.sessions_a_day(knobs, usual, self.satisfaction)
        here = self.is_active & (self.world.viewers.signed_up_us <= start_us)
        return sessions_of(self.world, self.draw_seed, (day, start_us), np.where(here, mean, 0.0))

    def seen(self, viewer: Int64, video: Int64) -> Bool:
        """bool[n]: whether each viewer was shown each video before."""
        bits = self._seen[viewer, video >> 3] >> (video & 7).astype(np.uint8)
        return np.asarray(bits & 1, np.bool_)

    def n_seen(self, viewer: Int64) -> Int64:
        """int64[n]: how many videos each viewer was shown."""
        return np.asarray(np.bitwise_count(self._seen[viewer]).sum(axis=1), np.int64)

    def creator_utility(self) -> Float64:
        """float64[c] in 0 to 1: what each creator's remembered views and likes are worth to them."""
        return creators.utility(self.world.knobs.creators, self.creator_views, self.creator_likes)

    def mood(self, viewer: Int64, video: Int64, time_us: Int64) -> Mood:
        """What moves these n viewers at these times."""
        return Mood(self.taste, self._shift(viewer, video, time_us))

    def rates(self, shown: Shown) -> Rates:
        """What is true of each showing now; of a video that the world doesn't know, nothing is, and its row is arbitrary."""
        mood = self.mood(shown.viewer, shown.video, shown.time_us)
        return rates_in(self.world, shown.viewer, shown.video, shown.surface == SHORTS, mood)

    def respond(self, shown: Shown) -> Outcome:
        """What the viewers do with what they are shown. A video that the world doesn't know is seen and left."""
        knobs, autoplay = self.world.knobs, shown.surface == SHORTS
        u = reactions(self.keys(shown))
        rate, page, known = self.rates(shown), shown.page(), shown.video >= 0
        leaves = autoplay & (u["leave"] < knobs.leave)
        reached = behaviour.earlier_in_page(leaves, page) == 0
        p_start = behaviour.p_start_if_looked_at(knobs, rate, shown.slot, autoplay)
        would_start = known & (u["attract"] < p_start)
        p_look = behaviour.examination(knobs, shown.slot, shown.device)
        looked_at = behaviour.looked_at(knobs, p_look, would_start, page, u)
        examined = reached & (looked_at | autoplay)
        met = (reached, examined, examined & would_start)
        done = behaviour.outcome(knobs, rate, met, u)
        return returning.with_pleasure(
            done, self._pleasure(shown, rate, done.started, u["pleasure"])
        )

    def keys(self, shown: Shown) -> UInt64:
        """uint64[n]: the random key of each showing: with it the reaction can be repeated."""
        return keys_of(self.draw_seed, shown.viewer, shown.video, shown.visit)

    def absorb(self, shown: Shown, done: Outcome) -> None:
        """Takes in what happened: satisfaction, tastes, inspiration, creators' exposure, counts, what was seen."""
        knobs, videos = self.world.knobs, self.world.videos
        rows = np.flatnonzero(done.reached & (shown.video >= 0))
        shown, done = shown.take(rows), done.take(rows)
        viewer, video = shown.viewer, shown.video
        bit = np.left_shift(1, video & 7).astype(np.uint8)
        np.bitwise_or.at(self._seen, (viewer, video >> 3), bit)
        self.satisfaction = returning.satisfied(knobs, self.satisfaction, viewer, done)
        share = done.watch_s / videos.duration_s[video]
        self.pull = tastes.pulled(self.world, self.pull, viewer, video, share)
        n = self.world.n_videos
        self.n_shown += np.bincount(video, minlength=n)
        self.n_started += np.bincount(video, done.started, n).astype(np.int64)
        self.n_liked += np.bincount(video, done.like, n).astype(np.int64)
        self.watch_s += np.bincount(video, done.watch_s, n)
        creator, n = videos.creator[video], self.world.n_creators
        self._views_today += np.bincount(creator, done.started, n)
        self._likes_today += np.bincount(creator, done.like, n)
        if knobs.creators_respond:
            self._inspire(shown, share)

    def end_day(self, day: int) -> None:
        """Night: the day's uploads come out, creators and viewers leave, tastes drift and forget."""
        world, knobs = self.world, self.world.knobs
        self._create(day)
        self._publish(day)
        today = keys_of(self.draw_seed, np.arange(world.n_viewers), np.full(world.n_viewers, day))
        self.is_active &= ~returning.quits(knobs, self.satisfaction, today)
        self.drift = tastes.drifted(world, self.drift, today)
        self.pull = tastes.forgotten(knobs, self.pull)

    def _inspire(self, shown: Shown, share: Float64) -> None:
        """What was watched to these shares makes viewers want to create."""
        knobs, viewer, video = self.world.knobs.creators, shown.viewer, shown.video
        liked = affinity(self.world, viewer, video, self.mood(viewer, video, shown.time_us))
        quality = self.world.videos.quality[video].astype(float)
        insp = creators.inspiration(knobs, liked, quality, share)
        now = np.zeros(len(insp))
        self.inspired += creators.inspired(knobs, viewer, insp, now, len(self.inspired))

    def _create(self, day: int) -> None:
        """Viewers' own creations of the day; what inspired them fades."""
        world, n = self.world, self.world.n_viewers
        hazard = creators.creation_hazard(world.viewers.creation.astype(float), self.inspired)
        u = uniform(keys_of(self.draw_seed, np.arange(n), np.full(n, day)), "create")
        self.n_created += self.is_active & (u < hazard)
        self.inspired *= 2.0 ** (-1.0 / world.knobs.creators.inspiration_d)

    def _publish(self, day: int) -> None:
        """The day's uploads come out, fewer where their creators got little back; then some creators leave."""
        videos, start_us, knobs = self.world.videos, self.day_start_us(day), self.world.knobs
        end_us = start_us + DAY_US
        meant = np.flatnonzero((videos.uploaded_us >= start_us) & (videos.uploaded_us < end_us))
        if not knobs.creators_respond:
            self.is_published[meant] = True
            return
        how, creator = knobs.creators, videos.creator[meant]
        self.creator_views = creators.remembered(how, self.creator_views, self._views_today)
        self.creator_likes = creators.remembered(how, self.creator_likes, self._likes_today)
        self._views_today[:], self._likes_today[:] = 0.0, 0.0
        use = self.creator_utility()
        u = uniform(keys_of(self.draw_seed, meant), "upload")
        come = u < creators.kept_up(how, use)[creator]
        self.is_published[meant] = self.creator_alive[creator] & come
        tenure_d = np.maximum(end_us - self._creator_since_us, 0) / DAY_US
        n = self.world.n_creators
        u = uniform(keys_of(self.draw_seed, np.arange(n), np.full(n, day)), "creator_leaves")
        self.creator_alive &= ~creators.leaves(creators.exit_probability(how, use, tenure_d), u)

    def _pleasure(self, shown: Shown, rate: Rates, started: Bool, u: Float64) -> Float64:
        videos, video = self.world.videos, shown.video
        bait, intensity = (c[video].astype(float) for c in (videos.clickbait, videos.intensity))
        cost = returning.Satisfaction(bait, intensity)
        return returning.pleasure(self.world.knobs, rate, cost, started, u)

    def _shift(self, viewer: Int64, video: Int64, time_us: Int64) -> Float64:
        """float64[n]: the logit that freshness and the topic's wave add."""
        knobs, videos = self.world.knobs, self.world.videos
        shift = np.zeros(len(video))
        if knobs.freshness:
            age_d = np.maximum(time_us - videos.uploaded_us[video], 0) / DAY_US
            newness = np.exp2(-age_d / FRESH_HALF_LIFE_D)
            shift += knobs.freshness * self.world.viewers.novelty[viewer] * newness
        if knobs.trend:
            turns = (time_us - self.start_us) / DAY_US / TREND_PERIOD_D
            shift += knobs.trend * np.cos(2 * np.pi * (turns + self._phase[videos.topic[video]]))
        return shift


def _first_uploads(world: World) -> Int64:
    """int64[c]: when each creator's first video comes out; the world's end for one without videos."""
    first = np.full(world.n_creators, world.end_us, np.int64)
    np.minimum.at(first, world.videos.creator, world.videos.uploaded_us)
    return first
