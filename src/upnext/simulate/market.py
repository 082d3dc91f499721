"""A market of viewers and creators where help for some creators comes out of the attention that others would have had (METHODS.md H, L).

Each day every visitor gets a page, drawn by the code that serves (policy/pages.py) from videos of the last days. What viewers do feeds the
creators' memory of views and likes (simulate/creators.py); with it go their uploads and whether they stay, and so what there is to
recommend. The policy's score is that of H1 with its reward term,

    value_user(u, v) + lam * (d V_c / d exposure), in units of what a creator whom nobody has seen would gain by a view.

lam 0 is the policy for viewers alone: the special case of EcoAgent (Zhan et al. 2021, arXiv 2105.02377), whose provider term is here
known instead of learned. Every draw is a function of (seed, day, who), so two runs differ by what their policies do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.policy.config import PolicyConfig
from upnext.simulate.creators import CreatorKnobs
from upnext.simulate.vocabulary import topics
from upnext.simulate.world import Videos, World

Int32 = npt.NDArray[np.int32]
N_TOPICS: Final = len(topics())
VIDEOS_EACH: Final = 50  # of a creator; the next upload takes the row of the one 50 uploads ago, which is off the shelf by then
_NOT_YET: Final = -(10**6)


def _plain_draw() -> PolicyConfig:
    return PolicyConfig(
        temperature=0.3, epsilon=0.02, mmr_lambda=1.0, max_per_category=0, duplicate_similarity=1.0
    )


def _hungry() -> CreatorKnobs:
    """Creators who want more views than there are: a platform of as many creators as viewers."""
    return CreatorKnobs(
        half_views=100.0, half_likes=5.0, listless=0.02, uploads_per_day=0.8, exit_per_day=0.05
    )


@dataclass(frozen=True)
class MarketKnobs:
    """What a market is like."""

    size: int = 10  # slots of a page
    n_candidates: int = 30
    topical: float = 0.75  # share of the candidates that comes from the viewer's interests
    depth: int = 0  # candidates are of so many newest videos of a topic; 0: of the whole window
    window_d: int = 10  # a video is a candidate for so many days
    fame: float = 0.8  # weight of log(1 + the creator's views) in the policy's logit of watching
    newcomer_share: float = 0.5  # of the creators, who join on one of the first join_days days
    join_days: int = 40
    policy: PolicyConfig = field(default_factory=_plain_draw)
    creators: CreatorKnobs = field(default_factory=_hungry)


@dataclass(frozen=True)
class Market:
    """What no policy changes: viewers, creators, and the videos to come: row c * VIDEOS_EACH + j is the j-th of creator c."""

    world: World
    knobs: MarketKnobs
    zeal: Float64  # [c] log of the creator's own upload rate
    talent: Float64  # [c]
    joined_d: Float64  # [c] the day they join; negative: before the beginning

    @property
    def n_viewers(self) -> int:
        """Number of viewers."""
        return self.world.n_viewers

    @property
    def n_creators(self) -> int:
        """Number of creators, those who join later among them."""
        return len(self.zeal)


@dataclass(frozen=True)
class Arms:
    """Who is treated, and who can be shown to whom: a viewer sees creators of the own cell alone."""

    viewer_treated: Bool  # [u]
    creator_treated: Bool  # [c] lam acts where creator and viewer are both treated
    viewer_cell: Int64  # [u] from 0
    creator_cell: Int64  # [c]


@dataclass(frozen=True)
class State:
    """A market on the morning of a day."""

    day: int
    uploaded_d: Int64  # [v] day of upload; long ago, and so never shown, where there was none
    quality: Float32  # [v]
    n_uploaded: Int64  # [c]
    views: Float64  # [c] remembered
    likes: Float64  # [c] remembered
    left: Bool  # [c]
    seen: Int32  # [u, window_d * size] the videos of the viewer's last pages, -1 pads


@dataclass(frozen=True)
class Day:
    """What happened on one day."""

    viewer: Int64  # [r] who visited
    video: Int64  # [r, k] what they were shown, -1 where candidates ran out
    propensity: Float64  # [r, k]
    watch_s: Float64  # [r, k]
    uploads: Int64  # [c]
    views: Int64  # [c] videos started


def make_market(
    n_viewers: int, n_creators: int, seed: int = 0, knobs: MarketKnobs | None = None
) -> Market:
    """The market of a seed. Raises InvalidInput below 10 viewers or creators."""
    knobs = knobs or MarketKnobs()
    if n_viewers < 10 or n_creators < 10:
        raise expected("market", "at least 10 viewers and 10 creators", (n_viewers, n_creators))
    if knobs.window_d * knobs.creators.max_uploads > VIDEOS_EACH:
        most = f"at most {VIDEOS_EACH} uploads of a creator in the window"
        raise expected("market", most, knobs.window_d * knobs.creators.max_uploads)
    world = World.make(n_viewers, n_creators * VIDEOS_EACH, seed)
    rng = rng_for(seed, "market")
    is_new = rng.random(n_creators) < knobs.newcomer_share
    joins = rng.uniform(0, knobs.join_days, n_creators)
    return Market(
        world=replace(world, videos=_by_creator(world, n_creators), n_creators=n_creators),
        knobs=knobs,
        zeal=rng.normal(0, 0.5, n_creators),
        talent=rng.normal(0, 0.3, n_creators),
        joined_d=np.where(is_new, joins, -1 - rng.exponential(60, n_creators)),
    )


def _by_creator(world: World, n_creators: int) -> Videos:
    """The world's videos dealt out anew, VIDEOS_EACH to each creator: three in four of them on the creator's own topic, in their language.

    The reach that a following gives is not a video's own here, but the market's: it comes about."""
    videos, rng = world.videos, rng_for(world.seed, "market videos")
    v = world.n_videos
    order = np.argsort(videos.topic + rng.random(v))  # by topic, so blocks are of one
    order = order.reshape(n_creators, VIDEOS_EACH)[rng.permutation(n_creators)].ravel()
    stray = np.flatnonzero(rng.random(v) < 0.25)
    order[stray] = order[rng.permutation(stray)]
    dealt = {name: getattr(videos, name)[order] for name in Videos.__dataclass_fields__}
    creator = np.repeat(np.arange(n_creators), VIDEOS_EACH)
    first = creator * VIDEOS_EACH
    spoken = np.where(rng.random(v) < 0.85, dealt["language"][first], 0)
    dealt |= {"creator": creator, "place": dealt["place"][first], "language": spoken}
    return Videos(**{**dealt, "audience": np.zeros(v, np.float32)})


def everybody(market: Market, *, treated: bool) -> Arms:
    """All treated, or none: the two worlds whose difference is the global treatment effect."""
    u, c = market.n_viewers, market.n_creators
    return Arms(
        np.full(u, treated), np.full(c, treated), np.zeros(u, np.int64), np.zeros(c, np.int64)
    )


def first_morning(market: Market) -> State:
    """The market before its first day: no video, and creators of old remember what their following once gave them."""
    v, c, knobs = market.world.n_videos, market.n_creators, market.knobs
    rng = rng_for(market.world.seed, "following")
    following = np.where(market.joined_d < 0, rng.pareto(1.1, c), 0.0)
    views = 2 * knobs.creators.half_views * np.minimum(following, 50.0)
    return State(
        day=0,
        uploaded_d=np.full(v, _NOT_YET),
        quality=np.zeros(v, np.float32),
        n_uploaded=np.zeros(c, np.int64),
        views=views,
        likes=0.03 * views,
        left=np.zeros(c, np.bool_),
        seen=np.full((market.n_viewers, knobs.window_d * knobs.size), -1, np.int32),
    )


def present(market: Market, state: State) -> Bool:
    """bool[c]: who is here on the state's day, having joined by its end and not left."""
    return np.asarray((market.joined_d < state.day + 1) & ~state.left, np.bool_)
