"""The world and its truth: deterministic, closed forms equal to what is drawn, taste that popularity can't serve."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.simulate.behaviour import examination, outcome
from upnext.simulate.draws import keys_of, reactions
from upnext.simulate.truth import (
    SURFACES,
    affinity,
    expected_relevance,
    expected_watch_s,
    rates,
)
from upnext.simulate.vocabulary import LANGUAGES, topics
from upnext.simulate.world import World

GOLD_AFFINITY = [0.33106418696530754, 0.19940144350583378, 0.16580971008208145]
GOLD_WATCH_S = [6.527323713077063, 4.079861049090008, 1.586056130357419]


def test_one_seed_is_one_world_and_another_is_another() -> None:
    a, b, c = (World.make(20, 30, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.videos.duration_s, b.videos.duration_s)
    np.testing.assert_array_equal(a.viewers.interest, b.viewers.interest)
    assert not np.array_equal(a.videos.duration_s, c.videos.duration_s)


def test_an_empty_world_is_refused() -> None:
    with pytest.raises(InvalidInput, match="viewers: expected a whole number from 1"):
        World.make(0, 5)


@pytest.mark.parametrize(("n_viewers", "n_videos"), [(1, 1), (3, 2)])
def test_a_tiny_world_has_truth_too(n_viewers: int, n_videos: int) -> None:
    world = World.make(n_viewers, n_videos)
    viewer = np.repeat(np.arange(n_viewers), n_videos)
    video = np.tile(np.arange(n_videos), n_viewers)
    relevance = expected_relevance(world, viewer, video)
    assert ((relevance > 0) & (relevance < 1)).all()


def test_topics_are_32_in_categories_of_four_with_words_in_every_language() -> None:
    assert len(topics()) == 32
    categories = [t.category for t in topics()]
    assert all(len(set(categories[i : i + 4])) == 1 for i in range(0, 32, 4))
    assert all(len(t.words[code]) >= 3 for t in topics() for code in LANGUAGES)


def test_the_everyday_worlds_truth_has_not_moved(world: World) -> None:
    """Published figures of the demo rest on it: recorded from the first release of the simulator."""
    viewer, video = np.array([3, 141, 420]), np.array([14, 1_592, 653])
    np.testing.assert_allclose(affinity(world, viewer, video), GOLD_AFFINITY, rtol=1e-12)
    np.testing.assert_allclose(expected_watch_s(world, viewer, video), GOLD_WATCH_S, rtol=1e-12)


@pytest.mark.parametrize("surface", SURFACES)
def test_expected_relevance_and_watch_time_are_the_means_of_what_is_drawn(
    world: World, surface: str
) -> None:
    rng = np.random.default_rng(2)
    viewer, video = rng.integers(500, size=300_000), rng.integers(2_000, size=300_000)
    rate, every = rates(world, viewer, video, surface), np.ones(len(video), np.bool_)
    started = rng.random(len(video)) < rate.attract
    draws = reactions(keys_of(1, np.arange(len(video))))
    done = outcome(world.knobs, rate, (every, every, started), draws)
    relevant = done.like | (done.watch_s >= 0.5 * world.videos.duration_s[video])
    expected = expected_relevance(world, viewer, video, surface)
    # 300,000 draws: five standard errors of a share near .13 are .003
    assert abs(relevant.mean() - expected.mean()) < 0.003
    high = expected > 0.5
    assert abs(relevant[high].mean() - expected[high].mean()) < 0.012
    watch_s = expected_watch_s(world, viewer, video, surface)
    error_s = (done.watch_s - watch_s).std() / np.sqrt(len(video))
    assert abs(done.watch_s.mean() - watch_s.mean()) < 5 * error_s


def test_examination_falls_with_the_slot(world: World) -> None:
    slots = np.array([0, 5, 30])
    look = examination(world.knobs, slots, np.zeros(3, np.int64))
    np.testing.assert_allclose(look, [1, 1 / 1.4, 1 / 3.4])


def test_a_viewers_own_best_beat_everyones_best_by_far(world: World) -> None:
    viewer = np.repeat(np.arange(100), 2_000)
    video = np.tile(np.arange(2_000), 100)
    relevance = expected_relevance(world, viewer, video).reshape(100, 2_000)
    own = np.sort(relevance, axis=1)[:, -10:].mean()
    everyones = relevance[:, np.argsort(-relevance.mean(axis=0))[:10]].mean()
    assert own > 1.7 * everyones
    assert everyones > 2 * relevance.mean()  # popularity is a baseline worth beating


def test_taste_is_not_a_sum_over_interests(world: World) -> None:
    """A dot product of topic shares explains part of the logit of affinity, and much is left."""
    rng = np.random.default_rng(0)
    viewer, video = rng.integers(500, size=20_000), rng.integers(2_000, size=20_000)
    liking = np.log(affinity(world, viewer, video))
    videos, viewers = world.videos, world.viewers
    interest = viewers.interest[viewer]
    share = videos.second_share[video][:, None]
    mix = (interest == videos.topic[video][:, None]) * (1 - share)
    dot = (
        viewers.strength[viewer] * (mix + (interest == videos.second_topic[video][:, None]) * share)
    ).sum(1)
    correlation = float(np.corrcoef(dot, liking)[0, 1])
    assert 0.3 < correlation < 0.8


def test_another_language_costs_a_song_less_than_a_lecture(world: World) -> None:
    rng = np.random.default_rng(1)
    viewer, video = rng.integers(500, size=200_000), rng.integers(2_000, size=200_000)
    liking = affinity(world, viewer, video)
    native = world.videos.language[video] == world.viewers.language[viewer]
    foreign = ~native & (world.videos.language[video] != world.viewers.second_language[viewer])
    is_music = world.videos.topic[video] // 4 == 2
    loss = [liking[native & m].mean() - liking[foreign & m].mean() for m in (is_music, ~is_music)]
    assert 0 < 2 * loss[0] < loss[1]


def test_forbidden_videos_are_named_by_country_age_and_harm(world: World) -> None:
    allowed = world.allowed(np.arange(500))
    young = np.flatnonzero(world.viewers.age < 16)
    assert not allowed[np.ix_(young, np.flatnonzero(world.videos.min_age >= 16))].any()
    assert not allowed[:, world.videos.harm > 0.8].any()
    assert 0.85 < allowed.mean() < 0.99
