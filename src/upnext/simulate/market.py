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

from upnext.core.clock import DAY_US
from upnext.core.compiled import compiled
from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.policy.config import PolicyConfig
from upnext.policy.page import terms_of
from upnext.policy.pages import draw_pages
from upnext.simulate import creators
from upnext.simulate.behaviour import N_DRAWS, Outcome, outcome
from upnext.simulate.creators import CreatorKnobs
from upnext.simulate.truth import examination, rates
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
    depth: int = 0  # candidates come from so many newest videos of a topic; 0: from all of the window
    window_d: int = 10  # a video is a candidate for so many days
    fame: float = 0.8  # weight of log(1 + the creator's remembered views) in the policy's logit of watching
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
    creator_treated: Bool  # [c]; lam acts on a video where its creator and the viewer are both treated
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


def live_a_day(market: Market, state: State, arms: Arms, lam: float) -> tuple[State, Day]:
    """The next morning, and what happened until then: uploads first, then pages, then who leaves."""
    state, uploads = _upload(market, state)
    viewer = np.flatnonzero(_draws(market, "visit", state.day, market.n_viewers) < _visits(market))
    item, n_items = _candidates(market, state, arms, viewer)
    score = _score(market, state, arms, viewer, item, lam)
    keys = _draw_keys(market, state.day)[viewer]
    creator = item // VIDEOS_EACH
    columns, propensity = draw_pages(
        terms_of(market.knobs.policy), score, creator, n_items, keys, market.knobs.size
    )
    video = np.where(columns >= 0, np.take_along_axis(item, np.maximum(columns, 0), axis=1), -1)
    done = _answers(market, state, viewer, video)
    views, likes = (
        np.bincount(video[said] // VIDEOS_EACH, minlength=market.n_creators)
        for said in (done.started.reshape(video.shape), done.like.reshape(video.shape))
    )
    watch_s = done.watch_s.reshape(video.shape)
    day = Day(viewer, video, propensity, watch_s, uploads, views)
    return _evening(market, state, day, likes), day


def present(market: Market, state: State) -> Bool:
    """bool[c]: who has joined by the morning and not left."""
    return np.asarray((market.joined_d < state.day) & ~state.left, np.bool_)


def _upload(market: Market, state: State) -> tuple[State, Int64]:
    """Today's uploads int64[c], and the state with them."""
    knobs = market.knobs.creators
    useful = creators.utility(knobs, state.views, state.likes)
    tenure_d = np.maximum(state.day - market.joined_d, 0.0)
    rate = creators.upload_rate(knobs, market.zeal, useful, tenure_d)
    n_creators = market.n_creators
    drawn = creators.n_uploads(knobs, rate, _draws(market, "upload", state.day, n_creators))
    uploads = np.where(_here(market, state), drawn, 0)
    of = np.repeat(np.arange(n_creators), uploads)
    nth = state.n_uploaded[of] + np.arange(len(of)) - (np.cumsum(uploads) - uploads)[of]
    video = of * VIDEOS_EACH + nth % VIDEOS_EACH
    uploaded_d, quality = state.uploaded_d.copy(), state.quality.copy()
    uploaded_d[video] = state.day
    luck = _luck(market)[video]
    quality[video] = creators.video_quality(
        knobs, market.talent[of], useful[of], tenure_d[of], luck
    )
    n_uploaded = state.n_uploaded + uploads
    return replace(state, uploaded_d=uploaded_d, quality=quality, n_uploaded=n_uploaded), uploads


def _here(market: Market, state: State) -> Bool:
    return np.asarray((market.joined_d < state.day + 1) & ~state.left, np.bool_)


def _candidates(
    market: Market, state: State, arms: Arms, viewer: Int64
) -> tuple[Int64, Int64]:
    """(item int64[r, n] ascending, its first n_items[r] are candidates; n_items int64[r]): of the viewer's interests and of anything, unseen."""
    knobs, world = market.knobs, market.world
    shelf = _shelf(market, state, arms)
    n_topical = round(knobs.topical * knobs.n_candidates)
    rng = rng_for(world.seed, "candidates", state.day)
    draws = rng.random((2, market.n_viewers, knobs.n_candidates))[:, viewer]
    interest = world.viewers.interest[viewer]
    n_interests = (interest >= 0).sum(axis=1, keepdims=True)
    which = (draws[0, :, :n_topical] * n_interests).astype(np.int64)
    topic = np.take_along_axis(interest, which, axis=1)
    cell = arms.viewer_cell[viewer][:, None]
    item = np.concatenate(
        [
            shelf.pick(cell * N_TOPICS + topic, 1, draws[1, :, :n_topical], knobs.depth),
            shelf.pick(cell * N_TOPICS, N_TOPICS, draws[1, :, n_topical:], 0),
        ],
        axis=1,
    )
    _drop_seen(item, viewer, state.seen, world.n_videos)
    item.sort(axis=1)
    item[:, 1:][item[:, 1:] == item[:, :-1]] = world.n_videos  # picked twice
    item.sort(axis=1)
    n_items = (item < world.n_videos).sum(axis=1)
    return np.where(item < world.n_videos, item, 0), n_items


@dataclass(frozen=True)
class _Shelf:
    """The videos of the window by cell and topic, the newest first."""

    video: Int64  # [a] by group
    start: Int64  # [g + 1] of each group, cell * N_TOPICS + topic
    none: int  # stands for no video

    def pick(self, group: Int64, n_groups: int, draws: Float64, depth: int) -> Int64:
        """int64[r, n]: a video of the groups group .. group + n_groups - 1, evenly among them or among the first `depth`."""
        start = self.start[group]
        n = self.start[group + n_groups] - start
        n_open = np.minimum(n, depth) if depth else n
        place = np.minimum(start + (draws * n_open).astype(np.int64), len(self.video) - 1)
        return np.where(n > 0, self.video[place] if len(self.video) else self.none, self.none)


def _shelf(market: Market, state: State, arms: Arms) -> _Shelf:
    age_d = state.day - state.uploaded_d
    video = np.flatnonzero(age_d < market.knobs.window_d)
    cell = arms.creator_cell[video // VIDEOS_EACH]
    group = cell * N_TOPICS + market.world.videos.topic[video]
    order = np.lexsort((age_d[video], group))
    n_groups = (int(max(arms.creator_cell.max(), arms.viewer_cell.max())) + 1) * N_TOPICS
    size = np.bincount(group, minlength=n_groups)
    return _Shelf(video[order], np.concatenate([[0], np.cumsum(size)]), market.world.n_videos)


@compiled
def _drop_seen(item: Int64, viewer: Int64, seen: Int32, none: int) -> None:
    """Puts `none` for what the viewer has seen lately."""
    for i in range(len(item)):
        row = seen[viewer[i]]
        for j in range(item.shape[1]):
            n_met = 0
            for one in row:
                n_met += one == item[i, j]
            if n_met:
                item[i, j] = none


def value_user(market: Market, state: State, viewer: Int64, item: Int64) -> Float32:
    """float32[r, n] in 0 to 1: the policy's P(watch) of each visitor's candidates, from interests, languages and the creator's fame.

    It knows less than is true: not the pair's own liking, the second topic, the quality."""
    world, knobs = market.world, market.knobs
    viewers, topic = world.viewers, world.videos.topic[item]
    match = np.zeros(item.shape)
    for place in range(viewers.interest.shape[1]):
        is_it = viewers.interest[viewer, place][:, None] == topic
        match += is_it * viewers.strength[viewer, place][:, None]
    language = world.videos.language[item]
    spoken = (viewers.language[viewer][:, None] == language) | (
        viewers.second_language[viewer][:, None] == language
    )
    fame = knobs.fame * np.log1p(state.views)[item // VIDEOS_EACH]
    logit = 2.0 * match + 1.0 * spoken + fame - 3.5
    return (1.0 / (1.0 + np.exp(-logit))).astype(np.float32)


def creator_gain(market: Market, state: State) -> Float64:
    """float64[c] in 0 to 1: d V_c / d exposure of each creator, in units of one whom nobody has seen."""
    knobs = market.knobs.creators
    nothing = np.zeros(1)
    most = creators.marginal_utility(knobs, nothing, nothing, _P_LIKE)
    return creators.marginal_utility(knobs, state.views, state.likes, _P_LIKE) / most


_P_LIKE: Final = 0.03  # of a video started


def _score(
    market: Market, state: State, arms: Arms, viewer: Int64, item: Int64, lam: float
) -> Float32:
    """float32[r, n]: value_user + lam * creator_gain where both are treated."""
    gain = np.where(arms.creator_treated, lam * creator_gain(market, state), 0.0)
    helped = gain[item // VIDEOS_EACH] * arms.viewer_treated[viewer][:, None]
    return value_user(market, state, viewer, item) + helped.astype(np.float32)


def _answers(market: Market, state: State, viewer: Int64, video: Int64) -> Outcome:
    """The outcome of r * k showings, row by row."""
    world = replace(market.world, videos=replace(market.world.videos, quality=state.quality))
    k = video.shape[1]
    rate = rates(world, np.repeat(viewer, k), np.maximum(video, 0).ravel(), "home")
    look = examination("home", np.tile(np.arange(k), len(viewer))) * (video.ravel() >= 0)
    rng = rng_for(world.seed, "answers", state.day)
    draws = rng.random((market.n_viewers, k, N_DRAWS))[viewer].reshape(-1, N_DRAWS)
    return outcome(rate, look, draws)


def _evening(market: Market, state: State, day: Day, likes: Int64) -> State:
    """The next morning: what creators remember, who has left, what viewers have seen."""
    knobs = market.knobs
    views = creators.remembered(knobs.creators, state.views, day.views)
    liked = creators.remembered(knobs.creators, state.likes, likes)
    useful = creators.utility(knobs.creators, views, liked)
    tenure_d = np.maximum(state.day + 1 - market.joined_d, 0.0)
    p_exit = creators.exit_probability(knobs.creators, useful, tenure_d)
    goes = creators.leaves(p_exit, _draws(market, "exit", state.day, market.n_creators))
    seen = state.seen.copy()
    block = (state.day % knobs.window_d) * knobs.size + np.arange(knobs.size)
    seen[:, block] = -1
    seen[day.viewer[:, None], block] = day.video
    return replace(
        state,
        day=state.day + 1,
        views=views,
        likes=liked,
        left=state.left | (goes & _here(market, state)),
        seen=seen,
    )


def _visits(market: Market) -> Float64:
    """float64[u]: P(a viewer visits on a day)."""
    return np.asarray(1 - np.exp(-market.world.viewers.sessions_per_day), np.float64)


def _draws(market: Market, what: str, day: int, n: int) -> Float64:
    return rng_for(market.world.seed, what, day).random(n)


def _draw_keys(market: Market, day: int) -> npt.NDArray[np.uint64]:
    rng = rng_for(market.world.seed, "page", day)
    return rng.integers(0, 1 << 64, market.n_viewers, np.uint64)


def _luck(market: Market) -> Float64:
    """float64[v]: each video's own, whenever it is uploaded."""
    return rng_for(market.world.seed, "luck").random(market.world.n_videos)
