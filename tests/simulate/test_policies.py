"""Plain policies and the serving policy in a vectorised loop: exact propensities, no repeats, the law that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.types import Candidates
from upnext.policy.config import PolicyConfig
from upnext.policy.plackett_luce import PlackettLucePolicy
from upnext.simulate.content import content_vectors
from upnext.simulate.draws import keys_of
from upnext.simulate.loop import Round, run
from upnext.simulate.nominate import CHANCE_ALONE, Mix, Nominations
from upnext.simulate.platform import Platform
from upnext.simulate.policies import POLICIES, Served, guesses, n_eligible, policy_of, unseen
from upnext.simulate.visits import Pages
from upnext.simulate.world import World, category_of_topic


@pytest.fixture(scope="module")
def platform() -> Platform:
    return Platform(World.make(50, 120, seed=2), days=3)


def _pages(viewer: np.ndarray, n_slots: int = 4) -> Pages:
    p = len(viewer)
    zero, visit = np.zeros(p, np.int64), np.arange(p)
    time_us = np.full(p, 1_764_000_000_000_000)
    return Pages(viewer, zero, zero, visit, zero, zero, time_us, np.full(p, n_slots))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_page_holds_each_video_once_and_as_many_as_it_has_slots(
    platform: Platform, name: str
) -> None:
    slates = policy_of(name).begin(platform, 0)(_pages(np.arange(50), 6))
    assert slates.video.shape == slates.propensity.shape == (50, 6)
    assert (slates.video >= 0).all()
    assert all(len(set(row)) == 6 for row in slates.video.tolist())
    who = np.repeat(np.arange(50), 6)
    assert platform.world.allowed_pairs(who, slates.video.ravel()).all()
    p = slates.propensity
    assert np.isnan(p).all() if name == "old" else ((p > 0) & (p <= 1)).all()


def test_the_random_policy_draws_each_video_as_often_as_its_propensity_says(
    platform: Platform,
) -> None:
    pages = _pages(np.full(6_000, 7), 3)
    slates = POLICIES["random"].begin(platform, 0)(pages)
    n = int(n_eligible(platform, np.array([7]), 0)[0])
    np.testing.assert_allclose(slates.propensity[0], 1 / (n - np.arange(3.0)))
    count = np.bincount(slates.video.ravel(), minlength=120)
    video = platform.published(0)
    fit = video[platform.world.allowed_pairs(np.full(len(video), 7), video)]
    assert count.sum() == count[fit].sum()
    expected = 18_000 / n
    # a chi-square with n - 1 degrees of freedom
    chi2 = ((count[fit] - expected) ** 2 / expected).sum()
    assert abs(chi2 - (n - 1)) < 5 * np.sqrt(2 * n)


def test_nominations_follow_the_mixtures_weights(platform: Platform) -> None:
    """First draws against the weights written out; chance alone is another law."""
    mix, viewer, n = Mix(0.6, 0.05, 0.35), 11, 60_000
    nominations = Nominations(platform, 0, mix)
    video, videos, viewers = nominations.video, platform.world.videos, platform.world.viewers
    reach = np.exp(videos.audience + videos.quality).astype(float)[video]
    spoken = np.where(videos.language[video] == viewers.language[viewer], 1.0, 0.3)
    topical = np.isin(videos.topic[video], viewers.interest[viewer]) * spoken * reach**0.7
    weight = mix.reach * spoken * reach / reach.mean() + mix.chance
    weight = weight + mix.topic * topical / max(topical.mean(), 1e-9)
    keys = keys_of(0, np.arange(n))
    errors = []
    for one in (nominations, Nominations(platform, 0, CHANCE_ALONE)):
        drawn = one.draw(np.full(n, viewer), keys)
        share = np.bincount(drawn, minlength=120)[video] / n
        errors.append(np.abs(share - weight / weight.sum()).max())
    assert errors[0] < 5 * np.sqrt(0.25 / n)
    assert errors[1] > 10 * errors[0]


def test_the_served_policy_draws_what_serving_draws(platform: Platform) -> None:
    policy, pages = Served(n_candidates=40), _pages(np.arange(20), 6)
    slates = policy.begin(platform, 0)(pages)
    world = platform.world
    category, vectors = category_of_topic()[world.videos.topic], content_vectors(world)
    serving = PlackettLucePolicy(
        policy.config,
        creators=lambda item: world.videos.creator[item],
        categories=lambda item: category[item],
        vectors=lambda item: vectors[item],
    )
    found = Nominations(platform, 0, Mix(0.6, 0.05, 0.35)).distinct(pages, 40, unseen(platform))
    value = guesses(platform, pages, found, policy.aim, policy.error).astype(np.float32)
    keys = keys_of(platform.draw_seed, pages.viewer, pages.visit)
    for row in range(20):
        here = found[row] >= 0
        candidates = Candidates(found[row][here])
        slate = serving.draw(int(keys[row]), 6, candidates, value[row][here])
        np.testing.assert_array_equal(slate.item_id, slates.video[row])
        np.testing.assert_allclose(slate.propensity, slates.propensity[row], rtol=1e-9)


def test_logged_propensities_weigh_every_video_back_to_one() -> None:
    """E[1 / (n p)] = 1 over the first slot's eligible; METHODS.md L: within [.98, 1.02]."""
    world, rounds = World.make(300, 200, seed=6), list[Round]()
    policy = Served(n_candidates=30, config=PolicyConfig(temperature=2.0, epsilon=0.3))
    run(Platform(world, days=3), policy, 3, rounds.append)
    first = [one.propensity[one.shown.slot == 0] for one in rounds]
    weight = 1 / (30 * np.concatenate(first))
    assert abs(weight.mean() - 1) < max(0.02, 4 * weight.std() / np.sqrt(len(weight)))
    assert weight.std() > 0.2  # weights of 1 for everything would be the random policy's


def test_the_popular_policy_shows_what_was_started_most_and_is_sure_of_it() -> None:
    platform = Platform(World.make(40, 100, seed=1), days=3)
    rng = np.random.default_rng(0)
    platform.n_started[:] = rng.permutation(100)
    slates = POLICIES["popular"].begin(platform, 0)(_pages(np.arange(40), 5))
    assert (slates.propensity == 1).all()
    video = platform.published(0)
    for viewer in range(40):
        fit = video[platform.world.allowed_pairs(np.full(len(video), viewer), video)]
        best = fit[np.argsort(-platform.n_started[fit], kind="stable")[:5]]
        np.testing.assert_array_equal(slates.video[viewer], best)


def test_content_vectors_are_unit_rows_near_their_topic_and_blurred_by_the_knob() -> None:
    near = []
    for noise in (0.1, 2.0):
        world = World.make(2, 500, seed=1)
        from dataclasses import replace

        world = replace(world, knobs=replace(world.knobs, content_noise=noise))
        vectors = content_vectors(world)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        same = world.videos.topic[:, None] == world.videos.topic
        cosine = vectors @ vectors.T
        near.append(cosine[same].mean() - cosine[~same].mean())
    assert near[0] > 0.6
    assert near[1] < 0.35
