"""The full ranking against a plain sort of every score, ties and all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.cli.bench_evaluate import measured
from upnext.core.errors import InvalidInput
from upnext.evaluate import full_ranking as module
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.metrics import Places, measure, rank_by_score
from upnext.evaluate.user_items import UserItems


def drawn(seed: int) -> tuple[VectorModel, UserItems, UserItems, int]:
    """Small integer vectors, so that most scores are tied."""
    rng = np.random.default_rng(seed)
    u, n, d = 23, int(rng.integers(3, 120)), 3
    bias = rng.integers(-1, 2, n).astype(np.float32)
    bias[::7] = -np.inf
    model = VectorModel(
        rng.integers(-2, 3, (u, d)).astype(np.float32),
        rng.integers(-2, 3, (n, d)).astype(np.float32),
        bias,
    )
    truth = UserItems.of_pairs(rng.integers(0, u, 60), rng.integers(0, n, 60), u)
    seen = UserItems.of_pairs(rng.integers(0, u, 90), rng.integers(0, n, 90), u)
    return model, truth, seen, int(rng.integers(1, 30))


@pytest.mark.parametrize("seed", range(12))
def test_lists_are_those_of_a_sort_of_all_scores_with_relevant_videos_behind_their_equals(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "TILE", 16)
    model, truth, seen, k = drawn(seed)
    score = model.users @ model.items.T + model.bias
    rows = np.arange(truth.n_users)
    for excluded in (seen, None):
        want = rank_by_score(score, truth, k, excluded)
        for threads in (1, 3):
            made = full_ranking(model, truth, k, excluded=excluded, threads=threads)
            np.testing.assert_array_equal(made(rows), want)
    some = np.array([5, 2, 20])
    np.testing.assert_array_equal(full_ranking(model, truth, k)(some), want[some])


def test_a_sort_that_knows_no_ties_is_paid_for_luck() -> None:
    model = VectorModel(np.ones((4, 2), np.float32), np.zeros((50, 2), np.float32))
    truth = UserItems.of_pairs(np.arange(4), np.zeros(4, np.int64), 4)
    naive = np.argsort(-(model.users @ model.items.T), axis=1, kind="stable")[:, :10]  # must fail
    assert measure(Places.of(naive, truth), ["hr@10"])["hr@10"].mean() == 1.0
    ours = full_ranking(model, truth, 10)(np.arange(4))
    assert measure(Places.of(ours, truth), ["hr@10"])["hr@10"].mean() == 0.0


def test_best_last_by_id_fills_no_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst order for a running best: every tile beats all before it."""
    monkeypatch.setattr(module, "TILE", 8)
    items = np.arange(200, dtype=np.float32)[:, None]
    nothing = UserItems(np.zeros(3, np.int64), np.zeros(0, np.int64))
    ranked = full_ranking(VectorModel(np.ones((2, 1), np.float32), items), nothing, 5)
    assert ranked(np.arange(2)).tolist() == [[199, 198, 197, 196, 195]] * 2


def test_scores_that_are_no_numbers_are_never_listed() -> None:
    items = np.array([[1.0], [np.nan], [-np.inf], [2.0], [-0.0], [0.0]], np.float32)
    nothing = UserItems(np.zeros(2, np.int64), np.zeros(0, np.int64))
    ranked = full_ranking(VectorModel(np.ones((1, 1), np.float32), items), nothing, 6)
    assert ranked(np.arange(1)).tolist() == [[3, 0, 4, 5, -1, -1]]


def test_models_and_sets_that_do_not_fit_are_refused() -> None:
    users, items = np.zeros((2, 3), np.float32), np.zeros((5, 3), np.float32)
    truth = UserItems.of_pairs(np.array([0]), np.array([4]), 2)
    with pytest.raises(InvalidInput, match="item vectors"):
        VectorModel(users, np.zeros((5, 2), np.float32))
    with pytest.raises(InvalidInput, match="item bias"):
        VectorModel(users, items, np.zeros(4, np.float32))
    with pytest.raises(InvalidInput, match="truth: expected 2 viewers"):
        full_ranking(VectorModel(users, items), truth.take(np.array([0])), 3)
    with pytest.raises(InvalidInput, match="ids below 4"):
        full_ranking(VectorModel(users, items[:4]), truth, 3)
    with pytest.raises(InvalidInput, match="k: expected at least 1"):
        full_ranking(VectorModel(users, items), truth, 0)


def test_in_a_world_of_known_taste_the_true_model_is_best_and_random_lists_are_at_their_level() -> (
    None
):
    report, found = measured(600, 4_000, 16)
    means = {name: row.figures["recall@100"].mean for name, row in report.rows.items()}
    assert means["true vectors"] > means["noisy vectors"] > means["popular"]
    assert report.rows["noisy vectors"].versus["ndcg@10"].low > 0
    level = found["random_recall@100"]
    assert level == pytest.approx(100 / 3990, rel=1e-3)
    error = math.sqrt(level * (1 - level) / report.n_pairs)  # pairs are drawn one by one
    assert abs(means["random"] - level) < 3 * error
    assert set(found["ranking_s"]) == set(report.rows)
    assert found["peak_rss_mib"] > 0
