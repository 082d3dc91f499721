"""WARP: the rank estimate of its paper, negatives that are none of the viewer's own, and the same bits from the same seed."""

import numpy as np
import pytest
from factorisation_world import taste_material

from upnext.retrieval.factorisation.config import WarpConfig
from upnext.retrieval.factorisation.draws import draw_below
from upnext.retrieval.factorisation.warp import draw_violator, harmonic
from upnext.retrieval.factorisation.warp_learner import WarpLearner


@pytest.mark.parametrize("rank", [5, 50, 500])
def test_the_mean_rank_estimate_is_the_analytic_value_not_the_rank(rank):
    """E[(V - 1) / N] = (V - 1) p ln(1 / p) / (1 - p) with p = rank / (V - 1) (METHODS A1), within 3 standard errors; the true rank must fail."""
    n_items, n_trials = 1001, 20_000
    scores = np.zeros((n_items, 1), np.float32)
    scores[1 : rank + 1] = 1  # the videos over the bar
    owner = np.full(n_items, -1, np.int64)
    owner[0] = 7  # the positive itself
    state, viewer = np.array([11], np.uint64), np.ones(1, np.float32)
    draws = np.array([
        draw_violator(viewer, scores, owner, 7, 0.5, 1 << 30, state)[1] for _ in range(n_trials)
    ])  # fmt: skip
    estimates, p = (n_items - 1) / draws, rank / (n_items - 1)
    analytic = (n_items - 1) * p * np.log(1 / p) / (1 - p)
    error = estimates.std() / np.sqrt(n_trials)
    assert abs(estimates.mean() - analytic) < 3 * error
    assert abs(estimates.mean() - rank) > 10 * error


def test_a_negative_is_never_one_of_the_viewers_own():
    items = np.arange(10, dtype=np.float32)[:, None]
    owner = np.where(np.arange(10) >= 6, 3, -1)
    state, viewer = np.array([5], np.uint64), np.ones(1, np.float32)
    found = {draw_violator(viewer, items, owner, 3, 2.5, 1000, state)[0] for _ in range(400)}
    assert found == {3, 4, 5}  # over the bar and not its own
    assert draw_violator(viewer, items, owner, 3, 5.5, 1000, state) == (-1, 1000)
    assert draw_violator(viewer, items, owner, 4, 5.5, 1000, state)[0] in range(6, 10)


def test_phi_is_the_harmonic_sum():
    assert harmonic(3) == pytest.approx([0, 1, 1.5, 1.5 + 1 / 3])


def test_draws_are_uniform():
    """Chi-square of 70,000 draws over 7 values: mean 6, standard deviation 3.5; far below 30."""
    state = np.array([1], np.uint64)
    counts = np.bincount([draw_below(state, 7) for _ in range(70_000)], minlength=7)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    material, _ = taste_material()
    runs = []
    for seed in (0, 0, 1):
        learner = WarpLearner(WarpConfig(embedding_size=8, epochs=2, seed=seed))
        learner.learn(material)
        runs.append(learner.snapshot())
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not np.array_equal(runs[0]["items"], runs[2]["items"])


def test_vectors_stay_in_the_ball():
    material, _ = taste_material()
    learner = WarpLearner(WarpConfig(embedding_size=8, epochs=5, max_norm=0.5))
    learner.learn(material)
    touched = np.unique(material.showings.item_id)
    for name in ("inputs", "items"):
        assert np.linalg.norm(learner.snapshot()[name][touched], axis=1).max() <= 0.5 + 1e-5
