"""Creators respond to exposure as METHODS.md H1 says, and both outcomes of a watch are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from upnext.core.randomness import rng_for
from upnext.simulate import creators
from upnext.simulate.creators import CreatorKnobs

KNOBS = CreatorKnobs()


def test_the_first_views_and_likes_matter_most() -> None:
    views = np.arange(0.0, 200.0)
    gains = np.diff(creators.utility(KNOBS, views, np.zeros(200)))
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    likes = np.diff(creators.utility(KNOBS, np.zeros(200), views))
    assert (likes > 0).all()
    assert (np.diff(likes) < 0).all()
    # 20 views give half of the views' share .6, 2 likes half of the likes' share .4
    assert creators.utility(KNOBS, np.array([20.0]), np.array([2.0])) == pytest.approx(0.5)
    assert creators.utility(KNOBS, np.zeros(1), np.zeros(1)) == 0


def test_the_marginal_utility_is_the_derivative_along_views_and_their_likes() -> None:
    views, likes, p_like, h = np.array([0.0, 7.0, 90.0]), np.array([0.0, 1.0, 4.0]), 0.05, 1e-6
    by_hand = (
        creators.utility(KNOBS, views + h, likes + p_like * h)
        - creators.utility(KNOBS, views, likes)
    ) / h
    told = creators.marginal_utility(KNOBS, views, likes, p_like)
    assert told == pytest.approx(by_hand, rel=1e-4)


def test_uploads_are_poisson_draws_cut_at_the_cap_with_the_mean_of_such() -> None:
    n = 200_000
    rate = np.repeat([0.05, 0.7, 6.0], n)
    drawn = creators.n_uploads(KNOBS, rate, rng_for("uploads").random(3 * n)).reshape(3, n)
    beyond = poisson.sf(np.arange(KNOBS.max_uploads), np.array([[0.05], [0.7], [6.0]]))
    mean = beyond.sum(axis=1)  # of min(X, cap): the sum over k < cap of P(X > k)
    error = drawn.std(axis=1) / np.sqrt(n)
    assert (np.abs(drawn.mean(axis=1) - mean) < 4 * error).all()
    assert drawn.max() == KNOBS.max_uploads
    # P(0) = exp(-.7) = .4966 within 4 binomial errors of .0011; an uncapped mean of 6 would be wrong
    assert (drawn[1] == 0).mean() == pytest.approx(0.4966, abs=0.0045)
    assert mean[2] < 5


def test_the_same_draw_never_gives_fewer_uploads_at_a_higher_rate() -> None:
    draws = rng_for("monotone").random(5_000)
    low = creators.n_uploads(KNOBS, np.full(5_000, 0.4), draws)
    high = creators.n_uploads(KNOBS, np.full(5_000, 0.5), draws)
    assert (high >= low).all()
    assert (high > low).mean() < 0.1


def test_a_rewarded_creator_uploads_more_stays_longer_and_makes_better_videos() -> None:
    low, high, old = np.array([0.05]), np.array([0.8]), np.array([40.0])
    zeal = np.zeros(1)
    assert creators.upload_rate(KNOBS, zeal, high, old) > 3 * creators.upload_rate(
        KNOBS, zeal, low, old
    )
    assert creators.exit_probability(KNOBS, high, old) < 0.1 * creators.exit_probability(
        KNOBS, low, old
    )
    even = np.array([0.5])
    assert creators.video_quality(KNOBS, zeal, high, old, even) > creators.video_quality(
        KNOBS, zeal, low, old, even
    )


def test_newcomers_upload_more_and_are_patient() -> None:
    new, old, none = np.zeros(1), np.array([90.0]), np.zeros(1)
    zeal, utility = np.zeros(1), np.full(1, 0.3)
    assert creators.upload_rate(KNOBS, zeal, utility, new) == pytest.approx(
        2 * creators.upload_rate(KNOBS, zeal, utility, old), rel=1e-3
    )
    assert creators.exit_probability(KNOBS, none, new) == 0
    assert creators.exit_probability(KNOBS, none, old) == pytest.approx(0.1, rel=1e-3)


def test_views_are_forgotten_by_half_in_their_half_life() -> None:
    views = np.array([8.0])
    for _ in range(5):
        views = creators.remembered(KNOBS, views, np.zeros(1))
    assert views == pytest.approx(4.0)
    assert not creators.leaves(np.array([0.2]), np.array([0.2]))[0]


def test_watches_fade_and_add_up_in_the_hazard() -> None:
    summed = creators.inspired(
        KNOBS,
        np.array([0, 2, 0]),
        np.array([1.0, 0.5, 0.4]),
        np.array([0.0, 2.0, 4.0]),
        4,
    )
    assert summed == pytest.approx([1.1, 0.0, 0.25, 0.0])
    hazard = creators.creation_hazard(np.full(4, -2.0), summed)
    assert hazard == pytest.approx(1 / (1 + np.exp(2.0 - summed)))


def test_creation_within_a_horizon_is_one_less_the_chance_of_none() -> None:
    c, s = -3.0, 0.8
    none = 1.0
    for day in range(3):
        none *= 1 - 1 / (1 + np.exp(-(c + s * 2 ** (-day / 2))))
    told = creators.creation_within(KNOBS, np.array([c]), np.array([s]), 3)
    assert told == pytest.approx(1 - none)


def test_both_outcomes_come_from_one_draw_and_their_means_are_the_truth() -> None:
    n, rng = 200_000, rng_for("both")
    insp = creators.inspiration(KNOBS, rng.random(n), rng.uniform(-1, 1, n), rng.random(n))
    made = creators.potential_creations(
        KNOBS, rng.normal(-5, 1, n), np.abs(rng.normal(0, 0.3, n)), insp, rng.random(n)
    )
    assert (made.if_watched >= made.if_skipped).all()  # to watch never takes away
    assert (made.tau >= 0).all()
    assert made.if_watched.mean() - made.if_skipped.mean() == pytest.approx(
        made.tau.mean(), abs=4 * np.sqrt(made.tau.mean() / n)
    )
    watched = rng.random(n) < 0.5
    assert (made.observed(watched) == np.where(watched, made.if_watched, made.if_skipped)).all()


def test_a_video_not_watched_inspires_nobody() -> None:
    ones = np.ones(3)
    assert (creators.inspiration(KNOBS, ones, ones, np.zeros(3)) == 0).all()
    easy, flawless = (
        creators.inspiration(KNOBS, np.ones(1), np.array([q]), np.ones(1)) for q in (-1.0, 1.0)
    )
    assert easy == pytest.approx(1.2)
    assert flawless == pytest.approx(0.6)
