"""Truth services: closed values equal rollouts, effects are paired, rankings and rates are the world's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.simulate import oracle
from upnext.simulate.measures import DayRow
from upnext.simulate.platform import Platform
from upnext.simulate.policies import Greedy, Popular, Random
from upnext.simulate.value import (
    Horizon,
    Value,
    closed_value,
    effect_of,
    value_of,
    watch_s_per_viewer_day,
)
from upnext.simulate.visits import Shown
from upnext.simulate.world import World
from upnext.simulate.worlds import world_of


@pytest.fixture(scope="module")
def small() -> World:
    return World.make(80, 150, seed=4, knobs=world_of("examination").knobs)


def _first_pages(world: World, p: np.ndarray, n_rollouts: int) -> np.ndarray:
    """float64[r]: mean seconds watched of a first home page per viewer, slots drawn independently from p float64[k, n]."""
    k, rng = len(p), np.random.default_rng(1)
    viewer = np.repeat(np.arange(world.n_viewers), k)
    slot = np.tile(np.arange(k), world.n_viewers)
    totals = []
    for visit in range(n_rollouts):
        drawn = [rng.choice(p.shape[1], world.n_viewers, p=one) for one in p]
        platform = Platform(world, days=1)
        shown = Shown(
            viewer=viewer,
            video=np.stack(drawn, axis=1).ravel(),
            surface=np.zeros(len(viewer), np.int64),
            device=world.own_device[viewer],
            slot=slot,
            visit=np.full(len(viewer), visit),
            time_us=np.full(len(viewer), platform.start_us),
        )
        totals.append(platform.respond(shown).watch_s.sum() / world.n_viewers)
    return np.array(totals)


@pytest.mark.parametrize("name", ["examination", "additive"])
def test_the_closed_value_of_a_policy_is_the_mean_of_its_rollouts(small: World, name: str) -> None:
    world = replace(small, knobs=world_of(name).knobs)
    p = np.random.default_rng(3).dirichlet(np.full(150, 0.3), 5)
    closed = closed_value(world, np.tile(p, (80, 1, 1)), np.arange(150))
    played = _first_pages(world, p, 200)
    error_s = played.std() / np.sqrt(200)
    assert abs(played.mean() - closed.mean) < 4 * error_s
    # the value without positions is another number
    looked_at = replace(world, knobs=replace(world.knobs, exam_decay=0.0, position_logit=0.0))
    everywhere = closed_value(looked_at, np.tile(p, (80, 1, 1)), np.arange(150))
    assert everywhere.mean - closed.mean > 10 * error_s


def test_a_cascade_has_no_closed_value(small: World) -> None:
    world = replace(small, knobs=world_of("cascade").knobs)
    with pytest.raises(InvalidInput, match="cascade"):
        closed_value(world, np.full((80, 2, 150), 1 / 150), np.arange(150))


def test_one_chance_for_both_policies_makes_their_difference_sure(small: World) -> None:
    measure, horizon = watch_s_per_viewer_day(small), Horizon(days=1, n_rollouts=6)
    a, b = (value_of(small, policy, measure, horizon) for policy in (Greedy(n_candidates=15), Random()))  # fmt: skip
    effect = effect_of(small, Greedy(n_candidates=15), Random(), measure, horizon)
    np.testing.assert_allclose(effect.each, a.each - b.each)
    assert effect.mean > 5 * effect.standard_error
    apart = np.hypot(a.standard_error, b.standard_error)
    assert effect.standard_error < 0.8 * apart  # what unpaired rollouts would leave
    none = effect_of(small, Random(), Random(), measure, horizon)
    assert (none.mean, none.standard_error) == (0.0, 0.0)


def test_the_global_effect_holds_what_only_comes_with_days() -> None:
    """Of two values of a page, watch time alone earns more today and keeps fewer viewers."""
    world = World.make(120, 300, seed=2, knobs=replace(world_of("clickbait").knobs, quit=0.02))

    def stayed(rows: list[DayRow]) -> float:
        return rows[-1].active

    watch, pleased = Greedy("watch", n_candidates=20), Greedy("satisfaction", n_candidates=20)
    effect = effect_of(world, watch, pleased, stayed, Horizon(days=5, n_rollouts=3))  # type: ignore[arg-type]
    first = effect_of(world, watch, pleased, watch_s_per_viewer_day(world), Horizon(1, 3))
    assert first.mean > 0 > effect.mean + 2 * effect.standard_error


def test_a_horizon_needs_days_and_two_rollouts() -> None:
    with pytest.raises(InvalidInput, match="at least 1 day and 2 rollouts"):
        Horizon(days=3, n_rollouts=1)
    assert isinstance(Value(0.0, 0.0, np.zeros(1)), Value)


def test_the_true_ranking_is_the_best_of_all_that_may_be_shown(small: World) -> None:
    platform = Platform(small, days=3)
    best = oracle.ranking(platform, 7, 0, 10)
    video = platform.published(0)
    who = np.full(len(video), 7)
    relevance = oracle.expected_relevance(platform, who, video, 0)
    relevance[~small.allowed_pairs(who, video)] = -1
    np.testing.assert_array_equal(best, video[np.argsort(-relevance, kind="stable")[:10]])
    assert len(oracle.ranking(platform, 7, 0, 10_000)) == (relevance >= 0).sum()


def test_a_videos_true_rate_is_its_mean_over_those_who_may_see_it(small: World) -> None:
    platform, video = Platform(small, days=3), np.arange(150)
    rate = oracle.true_rates(platform, video, np.arange(80), 0)
    one = 33
    who = np.arange(80)[small.allowed_pairs(np.arange(80), np.full(80, one))]
    mean = oracle.expected_relevance(platform, who, np.full(len(who), one), 0).mean()
    assert rate[one] == pytest.approx(mean)
    hidden = small.videos.harm >= 0.8
    np.testing.assert_array_equal(np.isnan(rate), hidden)


def test_both_outcomes_of_creation_come_from_one_draw() -> None:
    world = World.make(300, 200, seed=1, knobs=replace(world_of("creators").knobs, creation_level=-2.0))  # fmt: skip
    platform = Platform(world, days=3)
    viewer, video = np.repeat(np.arange(300), 200), np.tile(np.arange(200), 300)
    made = oracle.creations(platform, viewer, video, 0)
    assert (made.if_watched >= made.if_skipped).all()
    assert (made.tau >= 0).all()
    error = (made.if_watched ^ made.if_skipped).std() / np.sqrt(len(viewer))  # paired
    observed = made.if_watched.mean() - made.if_skipped.mean()
    assert abs(observed - made.tau.mean()) < 4 * error
    assert made.tau.mean() > 20 * error


def test_truth_moves_with_the_platform() -> None:
    world = World.make(40, 100, seed=3, knobs=world_of("rabbit_hole").knobs)
    platform, viewer, video = Platform(world, days=2), np.arange(40), np.arange(40)
    before = oracle.expected_relevance(platform, viewer, video, 0)
    platform.pull = platform.pull + 0.5
    after = oracle.expected_relevance(platform, viewer, video, 0)
    assert not np.allclose(before, after)


def test_popularity_is_the_best_there_is_where_all_like_the_same_and_not_where_tastes_differ() -> (
    None
):
    """The falsification worlds of personalisation and of popularity."""
    shares = {}
    for name in ("one_taste", "everyday", "own_tastes"):
        world = World.make(120, 300, seed=1, knobs=world_of(name).knobs)
        platform, video = Platform(world, days=1), np.arange(300)
        rate = np.nan_to_num(oracle.true_rates(platform, video, np.arange(120), 0))
        viewer, every = np.repeat(np.arange(120), 300), np.tile(video, 120)
        relevance = oracle.expected_relevance(platform, viewer, every, 0)
        relevance = (relevance * world.allowed_pairs(viewer, every)).reshape(120, 300)
        own = np.sort(relevance, axis=1)[:, -10:].mean()
        shares[name] = relevance[:, np.argsort(-rate)[:10]].mean() / own
    assert shares["one_taste"] > 0.85
    assert shares["everyday"] < 0.6
    assert shares["own_tastes"] < shares["everyday"] + 0.1
    assert isinstance(Popular(), Popular)
