"""Which reward keeps viewers: generators trained on one log by different rewards, each filling the pages of the same fresh viewers.

The log is a world's first days under uniform chance, with its exact propensities. A generator learns from it (retrieval/off_policy) and then
ranks every video for viewers whom the log doesn't know, on the same random numbers for every reward. In the clickbait world what is
watched most is regretted: a reward of the moment fills pages with it, and one that reads what came after does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Flag, Float32, History, Int64, Profile, Query, Request, User
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.moments import Moments
from upnext.features.showings import Showings
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.off_policy.config import OffPolicyConfig, RewardConfig
from upnext.simulate.content import content_vectors
from upnext.simulate.loop import Round, run
from upnext.simulate.measures import DayRow
from upnext.simulate.platform import Platform
from upnext.simulate.policies import PageMaker, Policy, Random, Slates, unseen
from upnext.simulate.truth import SURFACES
from upnext.simulate.visits import Pages
from upnext.simulate.world import World, category_of_topic
from upnext.simulate.worlds import world_of

IMMEDIATE: Final = RewardConfig(shown=0.0, click=1.0, relevant=2.0, completed=2.0)
REWARDS: Final[Mapping[str, RewardConfig]] = {
    "immediate": IMMEDIATE,
    "future_watch": RewardConfig(kind="future_watch"),
    "return": RewardConfig(kind="return", horizon_h=24.0),
    "incremental": RewardConfig(kind="incremental"),
}
CONFIG: Final = OffPolicyConfig(
    correction="learned",
    embedding_size=16, input_size=16, state_size=8, content_hidden=16, n_history=20, epochs=1,
    id_dropout=0.0, batch_size=512, temperature=0.1, learning_rate=0.02,
)  # fmt: skip
_PAGE_US: Final = SECOND_US  # between two slots of a page, so that a session stays one


@dataclass(frozen=True)
class Plan:
    """Sizes of a study."""

    world: str = "clickbait"
    n_videos: int = 300
    n_logged: int = 8_000  # viewers of the log
    log_days: int = 7
    n_viewers: int = 400  # fresh ones, whose pages are filled
    days: int = 7
    seed: int = 0


@dataclass(frozen=True)
class Kept:
    """What became of the viewers under one generator."""

    reward: str
    return_d1: float  # of a day's viewers, who came the next day; mean over days
    active: float  # share who have not left for good
    sessions: float  # viewers who came, summed over days, per viewer
    satisfaction: float  # mean of those who came on the last day, -1 to 1
    watch_h: float  # of all days together
    watch_first_h: float  # ... and of the first day
    clickbait: float  # mean of what was shown


Vectors = Callable[[Sequence[Query]], tuple[Float32, Float32]]  # float32[u, d], float32[v, d]


@dataclass
class ByVectors:
    """Fills pages with the unseen videos nearest to each viewer's vector, which is that of the day's beginning."""

    vectors: Vectors
    rounds: list[Round] = field(default_factory=list)  # what was shown so far; the caller appends

    def begin(self, platform: Platform, day: int) -> PageMaker:
        """What fills the pages of a day."""
        viewers, items = self.vectors(self._queries(platform, day))
        score = viewers @ items.T
        hidden = np.ones(platform.world.n_videos, np.bool_)
        hidden[platform.published(day)] = False
        score[:, hidden] = -np.inf
        return best_unseen(platform, score)

    def _queries(self, platform: Platform, day: int) -> list[Query]:
        """One of every viewer."""
        shown = showings_of_rounds(platform, self.rounds)
        starts, now_us = shown.starts(), platform.day_start_us(day)
        queries = []
        for viewer, name in enumerate(platform.world.user_ids):
            own = slice(starts[viewer], starts[viewer + 1])
            history = History(
                shown.item_id[own], shown.time_us[own], shown.watch_s[own], shown.flags[own]
            )
            asked = Request("", name, "home", 10, now_us)
            queries.append(Query(asked, User(name, history=history)))
        return queries


def best_unseen(platform: Platform, score: Float32) -> PageMaker:
    """Pages of the highest scores float32[u, v] that are finite, among what a viewer may be shown and was not shown before."""
    keep = unseen(platform)

    def make(pages: Pages) -> Slates:
        n_pages, n_videos = len(pages), score.shape[1]
        viewer = np.repeat(pages.viewer, n_videos)
        video = np.tile(np.arange(n_videos), n_pages)
        fits = keep(viewer, video, video).reshape(n_pages, n_videos) > 0
        left = np.where(fits, score[pages.viewer], -np.inf)
        best = np.argsort(-left, axis=1, kind="stable")[:, : int(pages.n_slots.max(initial=0))]
        there = np.isfinite(np.take_along_axis(left, best, axis=1))
        there &= np.arange(best.shape[1]) < pages.n_slots[:, None]
        return Slates(np.where(there, best, -1), np.where(there, 1.0, np.nan))

    return make


def logged_material(plan: Plan) -> Material:
    """The log of a plan: its world's days under uniform chance, with propensities."""
    platform = _platform(plan, plan.n_logged, plan.log_days)
    rounds: list[Round] = []
    run(platform, Random(), plan.log_days, rounds.append)
    world = platform.world
    context = ContextEncoder(Vocabulary.learn({"surface": SURFACES}))
    codes = VideoCodes(
        category_of_topic()[world.videos.topic].astype(np.int32),
        world.videos.creator,
        world.videos.language.astype(np.int32),
        world.videos.duration_s.astype(np.float32),
        world.videos.is_premium,
        world.videos.uploaded_us,
    )
    return Material(showings_of_rounds(platform, rounds), content_vectors(world), context, codes)


def showings_of_rounds(platform: Platform, rounds: Sequence[Round]) -> Showings:
    """What a platform would know of these rounds, item_id the world's row."""
    world = platform.world
    columns: dict[str, list[Int64]] = {}
    for one in rounds:
        rows = np.flatnonzero(one.done.reached)
        shown, done = one.shown.take(rows), one.done.take(rows)
        half = done.started & (done.watch_s >= 0.5 * world.videos.duration_s[shown.video])
        whole = done.started & (done.watch_s >= 0.95 * world.videos.duration_s[shown.video])
        flags = np.full(len(rows), Flag.IMPRESSION)
        for is_so, bits in (
            (done.started, Flag.CLICK | Flag.WATCHED), (half, Flag.WATCHED_HALF),
            (whole, Flag.COMPLETED), (done.like, Flag.LIKE),
        ):  # fmt: skip
            flags |= np.where(is_so, bits, 0)
        part = {
            "user": shown.viewer, "item_id": shown.video, "flags": flags, "watch_s": done.watch_s,
            "time_us": shown.time_us + shown.slot * _PAGE_US, "surface": shown.surface,
            "propensity": one.propensity[rows],
        }  # fmt: skip
        for name, column in part.items():
            columns.setdefault(name, []).append(column)
    none = [np.zeros(0, np.int64)]
    joined = {
        name: np.concatenate(columns.get(name, none))
        for name in ("user", "item_id", "flags", "watch_s", "time_us", "surface", "propensity")
    }
    order = np.lexsort((joined["time_us"], joined["user"]))
    joined = {name: column[order] for name, column in joined.items()}
    words = [(surface, None, None, None, None, True) for surface in SURFACES]
    moments = Moments(
        joined["user"].astype(np.int32), joined["time_us"], joined["surface"].astype(np.int32),
        [Profile()] * world.n_viewers, words,
    )  # fmt: skip
    return Showings(
        joined["user"], joined["item_id"], joined["time_us"],
        joined["flags"].astype(np.uint16), joined["watch_s"].astype(np.float32),
        np.arange(len(order)), world.user_ids, moments, {},
        joined["propensity"].astype(np.float32),
    )  # fmt: skip


def played(plan: Plan, reward: str, policy: Policy, rounds: list[Round]) -> Kept:
    """What becomes of the plan's fresh viewers under a policy; `rounds` gets every round as it is played."""
    platform = _platform(plan, plan.n_viewers, plan.days)
    days: list[DayRow] = run(platform, policy, plan.days, rounds.append)
    video = np.concatenate([one.shown.video for one in rounds])
    n = platform.world.n_viewers
    return Kept(
        reward,
        float(np.nanmean([day.return_d1 for day in days])),
        days[-1].active / n,
        sum(day.viewers for day in days) / n,
        days[-1].satisfaction,
        sum(day.watch_h for day in days),
        days[0].watch_h,
        float(platform.world.videos.clickbait[video].mean()),
    )


def study(
    plan: Plan,
    config: OffPolicyConfig = CONFIG,
    rewards: Mapping[str, RewardConfig] = REWARDS,
    progress: Progress | None = None,
) -> list[Kept]:
    """One line per reward, and first that of uniform chance. Raises InvalidInput for sizes that can't be."""
    from upnext.retrieval.off_policy.learner import OffPolicyLearner  # torch: for training alone

    progress = progress or NoProgress()
    material = logged_material(plan)
    lines = [played(plan, "uniform chance", Random(), [])]
    for name, reward in rewards.items():
        learner = OffPolicyLearner(config.model_copy(update={"reward": reward}))
        learner.learn(material, progress=progress)
        policy = ByVectors(learner.vectors)
        lines.append(played(plan, name, policy, policy.rounds))
    return lines


def _platform(plan: Plan, n_viewers: int, days: int) -> Platform:
    """The plan's videos with so many viewers, who are others for another number."""
    knobs = world_of(plan.world).knobs
    return Platform(World.make(n_viewers, plan.n_videos, plan.seed, knobs=knobs), days=days)
