"""A day of a market: who uploads, what each visitor is shown and does, who leaves.

The order is fixed: uploads in the morning, then a page for every visitor from the videos of the window, then what creators remember of the day
and whether they stay. The page is drawn by the code that serves (policy/pages.py); what viewers do is the world's law (simulate/truth.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.randomness import rng_for
from upnext.core.types import Float32, Float64, Int64
from upnext.policy.page import terms_of
from upnext.policy.pages import Requests, draw_pages
from upnext.simulate import creators
from upnext.simulate.behaviour import Outcome, examination, outcome
from upnext.simulate.draws import keys_of, reactions
from upnext.simulate.market import (
    N_TOPICS,
    VIDEOS_EACH,
    Arms,
    Day,
    Int32,
    Market,
    State,
    present,
)
from upnext.simulate.truth import rates

_P_LIKE: Final = 0.03  # of a video started


def live_a_day(market: Market, state: State, arms: Arms, lam: float) -> tuple[State, Day]:
    """The next morning, and what happened until then: uploads first, then pages, then who leaves."""
    state, uploads = _upload(market, state)
    viewer = np.flatnonzero(_draws(market, "visit", state.day, market.n_viewers) < _visits(market))
    item, n_items = _candidates(market, state, arms, viewer)
    score = _score(market, state, arms, viewer, item, lam)
    keys = _draw_keys(market, state.day)[viewer]
    requests = _requests(market, score, item, n_items)
    terms = terms_of(market.knobs.policy)
    columns, propensity, _ = draw_pages(terms, requests, keys, market.knobs.size)
    video = np.where(columns >= 0, np.take_along_axis(item, np.maximum(columns, 0), axis=1), -1)
    done = _answers(market, state, viewer, video)
    views, likes = (
        np.bincount(video[said] // VIDEOS_EACH, minlength=market.n_creators)
        for said in (done.started.reshape(video.shape), done.like.reshape(video.shape))
    )
    watch_s = done.watch_s.reshape(video.shape)
    day = Day(viewer, video, propensity, watch_s, uploads, views)
    return _evening(market, state, day, likes), day


def _upload(market: Market, state: State) -> tuple[State, Int64]:
    """Today's uploads int64[c], and the state with them."""
    knobs = market.knobs.creators
    useful = creators.utility(knobs, state.views, state.likes)
    tenure_d = np.maximum(state.day - market.joined_d, 0.0)
    rate = creators.upload_rate(knobs, market.zeal, useful, tenure_d)
    n_creators = market.n_creators
    drawn = creators.n_uploads(knobs, rate, _draws(market, "upload", state.day, n_creators))
    uploads = np.where(present(market, state), drawn, 0)
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


def _candidates(market: Market, state: State, arms: Arms, viewer: Int64) -> tuple[Int64, Int64]:
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
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), np.float32)


def creator_gain(market: Market, state: State) -> Float64:
    """float64[c] in 0 to 1: d V_c / d exposure of each creator, in units of one whom nobody has seen."""
    knobs = market.knobs.creators
    nothing = np.zeros(1)
    most = creators.marginal_utility(knobs, nothing, nothing, _P_LIKE)
    return creators.marginal_utility(knobs, state.views, state.likes, _P_LIKE) / most


def _score(
    market: Market, state: State, arms: Arms, viewer: Int64, item: Int64, lam: float
) -> Float32:
    """float32[r, n]: value_user + lam * creator_gain where both are treated."""
    gain = np.where(arms.creator_treated, lam * creator_gain(market, state), 0.0)
    helped = gain[item // VIDEOS_EACH] * arms.viewer_treated[viewer][:, None]
    return np.asarray(value_user(market, state, viewer, item) + helped, np.float32)


def _requests(market: Market, score: Float32, item: Int64, n_items: Int64) -> Requests:
    """What the policy reads: the cap per creator counts here, categories and likeness don't."""
    videos = market.world.videos
    nothing_alike = np.zeros((market.world.n_videos, 0), np.float32)
    return Requests(score, item, n_items, videos.creator, videos.topic, nothing_alike)


def _answers(market: Market, state: State, viewer: Int64, video: Int64) -> Outcome:
    """The outcome of r * k showings, row by row; of no video, nothing. A viewer's answer to a video of a day is the same on any page."""
    world = market.world.with_quality(state.quality)
    k, shown = video.shape[1], video.ravel()
    who, what = np.repeat(viewer, k), np.maximum(shown, 0)
    u = reactions(keys_of(world.seed, who, what, np.full(len(who), state.day)))
    rate = rates(world, who, what, "home")
    slot = np.tile(np.arange(k), len(viewer))
    p_look = examination(world.knobs, slot, np.zeros(len(slot), np.int64))
    there = shown >= 0
    looked = there & (u["look"] < p_look)
    started = looked & (u["attract"] < rate.attract)
    return outcome(world.knobs, rate, (there, looked, started), u)


def _evening(market: Market, state: State, day: Day, likes: Int64) -> State:
    """The next morning: what creators remember, who has left, what viewers have seen."""
    knobs = market.knobs
    views = creators.remembered(knobs.creators, state.views, day.views.astype(np.float64))
    liked = creators.remembered(knobs.creators, state.likes, likes.astype(np.float64))
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
        left=state.left | (goes & present(market, state)),
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
