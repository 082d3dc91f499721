"""Ordering of pairs, AUC and its kin, against a count over every pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.evaluate import binary, regression
from upnext.evaluate.bootstrap import resample
from upnext.evaluate.pair_order import PairOrder


def naive_pairs(truth: np.ndarray, score: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """(right, total) over every ordered pair with truth_i > truth_j."""
    is_pair = truth[:, None] > truth[None, :]
    value = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    both = weight[:, None] * weight[None, :]
    return float((both * value)[is_pair].sum()), float(both[is_pair].sum())


@given(st.integers(0, 400))
def test_weighted_grouped_pairs_are_those_of_a_count_over_every_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, n_groups = int(rng.integers(1, 40)), int(rng.integers(1, 4))
    truth = rng.integers(0, 5, n).astype(np.float64)
    score = rng.integers(0, 1 + int(rng.integers(1, 9)), n).astype(np.float64)
    group = rng.integers(0, n_groups, n)
    weights = rng.integers(0, 3, (3, n)).astype(np.float64)
    got = PairOrder(truth, score, group).count(weights)
    for b in range(3):
        for g in range(int(group.max()) + 1):
            own = group == g
            right, total = naive_pairs(truth[own], score[own], weights[b, own])
            assert got.right[b, g] == pytest.approx(right)
            assert got.total[b, g] == pytest.approx(total)


@given(st.integers(0, 200))
def test_a_monotone_transform_of_the_prediction_changes_no_order_and_a_reversal_mirrors_it(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    truth, score = rng.integers(0, 9, 30), rng.integers(0, 9, 30) / 10
    value = regression.xauc(truth, score)
    assert regression.xauc(truth, np.exp(5 * score)) == pytest.approx(value)
    assert regression.xauc(truth, -score) == pytest.approx(1 - value)


def test_auc_by_hand_with_ties_and_with_one_class() -> None:
    label, score = np.array([1, 0, 1, 0]), np.array([0.8, 0.8, 0.4, 0.2])
    # pairs: (.8,.8) 1/2, (.8,.2) 1, (.4,.8) 0, (.4,.2) 1 -> 2.5 / 4
    assert binary.auc(label, score) == pytest.approx(0.625)
    assert binary.auc(label, np.full(4, 0.3)) == pytest.approx(0.5)
    assert math.isnan(binary.auc(np.ones(3), np.zeros(3)))
    assert math.isnan(binary.auc(np.zeros(0), np.zeros(0)))


def test_gauc_weighs_viewers_by_impressions_and_leaves_out_those_with_one_class() -> None:
    label = np.array([1, 0, 1, 0, 0, 1, 1])
    score = np.array([0.9, 0.1, 0.2, 0.5, 0.1, 0.7, 0.6])
    user = np.array([0, 0, 2, 2, 2, 1, 1])
    got = binary.gauc(label, score, user)
    # viewer 0: 1 on 2 rows; viewer 2: 1/2 on 3 rows; viewer 1 has one class
    assert got.value == pytest.approx((2 * 1 + 3 * 0.5) / 5)
    assert got.n_users == 2


def test_gauc_is_blind_to_a_shift_of_a_viewer_s_scores_and_auc_is_not() -> None:
    rng = np.random.default_rng(0)
    user = rng.integers(0, 40, 2000)
    label, score = rng.random(2000) < 0.3, rng.random(2000)
    shifted = score + 10 * user
    assert binary.gauc(label, shifted, user).value == pytest.approx(
        binary.gauc(label, score, user).value
    )
    assert binary.auc(label, shifted) != pytest.approx(binary.auc(label, score), abs=1e-4)


@pytest.mark.parity
def test_auc_and_log_loss_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    rng = np.random.default_rng(1)
    for decimals in (1, 2, 8):
        label = rng.random(3000) < 0.2
        score = np.clip(np.round(rng.random(3000) * 0.8 + 0.1 * label, decimals), 0.01, 0.99)
        assert binary.auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert binary.log_loss(label, score) == pytest.approx(log_loss(label, score), abs=1e-12)


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    assert binary.log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(-math.log(1e-7))
    assert binary.log_loss(np.array([0.0]), np.float32([1.0])) == pytest.approx(-math.log(1e-7))


def test_calibration_by_hand() -> None:
    label = np.array([0, 1, 0, 1])
    score = np.array([0.1, 0.3, 0.6, 0.6])
    # two bins of two rows: |.4 - 1| + |1.2 - 1| over 4 rows
    assert binary.ece(label, score, 2) == pytest.approx((0.6 + 0.2) / 4)
    assert binary.pcoc(label, score) == pytest.approx(1.6 / 2)
    assert math.isnan(binary.pcoc(np.zeros(2), np.ones(2) / 2))


def test_equal_predictions_share_a_bin_so_row_order_never_matters() -> None:
    rng = np.random.default_rng(2)
    label = np.sort(
        rng.random(1000) < 0.3
    )  # sorted by label: splitting ties by row would look uncalibrated
    score = np.full(1000, label.mean())
    assert binary.ece(label, score, 10) == pytest.approx(0.0, abs=1e-12)
    assert len(np.unique(binary.mass_bins(rng.random(1000), 10))) == 10
    assert np.bincount(binary.mass_bins(rng.random(1000), 10)).tolist() == [100] * 10


def test_calibration_error_of_true_probabilities_is_only_noise_and_of_doubled_ones_is_not() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(50_000) * 0.5
    label = rng.random(50_000) < p
    assert binary.ece(label, p) < 0.01
    assert binary.ece(label, np.minimum(2 * p, 1)) > 0.2
    assert binary.pcoc(label, p) == pytest.approx(1, abs=0.02)


def test_labels_that_are_not_0_or_1_and_other_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="label"):
        binary.auc(np.array([0.5, 1]), np.array([0.1, 0.2]))
    with pytest.raises(InvalidInput, match="prediction"):
        binary.log_loss(np.array([0, 1]), np.array([0.1]))
    with pytest.raises(InvalidInput, match="NaN"):
        regression.xauc(np.array([1.0, math.nan]), np.zeros(2))


def test_the_auc_of_resampled_viewers_is_that_of_their_rows_repeated() -> None:
    rng = np.random.default_rng(4)
    user = np.sort(rng.integers(0, 12, 80))
    user = np.unique(user, return_inverse=True)[1]
    label, score = rng.random(80) < 0.4, np.round(rng.random(80), 1)
    draws = []
    counts = np.concatenate(list(resample(int(user.max()) + 1, n_resamples=60, seed=5)))
    for row in counts.astype(int):
        rows = np.repeat(np.arange(80), row[user])
        draws.append(binary.auc(label[rows], score[rows]))
    estimate = binary.auc_interval(label, score, user, n_resamples=60, seed=5)
    np.testing.assert_allclose((estimate.low, estimate.high), np.quantile(draws, (0.025, 0.975)))
    assert estimate.mean == pytest.approx(binary.auc(label, score))
    exact = regression.xauc_interval(label, score, user, n_resamples=60, seed=5)
    np.testing.assert_allclose(
        (exact.mean, exact.low, exact.high), (estimate.mean, estimate.low, estimate.high)
    )


def test_seconds_by_hand() -> None:
    truth, score = np.array([0.0, 10.0, 20.0]), np.array([3.0, 10.0, 5.0])
    assert regression.mae(truth, score) == pytest.approx(18 / 3)
    assert regression.rmse(truth, score) == pytest.approx(math.sqrt((9 + 225) / 3))
    assert regression.mean_ratio(truth, score) == pytest.approx(18 / 30)
    assert regression.xauc(truth, score) == pytest.approx(
        2 / 3
    )  # (0,10) and (0,20) right, (10,20) wrong
    assert regression.gxauc(truth, score, np.array([0, 1, 1])).value == pytest.approx(0.0)


def test_predicting_the_median_wins_mae_and_loses_the_mean_ratio() -> None:
    truth = np.random.default_rng(5).exponential(20, 5000)
    median, mean = np.full(5000, np.median(truth)), np.full(5000, truth.mean())
    assert regression.mae(truth, median) < regression.mae(truth, mean)
    assert regression.mean_ratio(truth, median) < 0.75
    assert regression.mean_ratio(truth, mean) == pytest.approx(1.0)


def test_knowing_only_the_duration_earns_one_half_within_duration() -> None:
    rng = np.random.default_rng(6)
    duration_s = rng.integers(1, 11, 4000) * 10.0
    watch_s = duration_s * rng.random(4000)
    assert regression.xauc(watch_s, duration_s) > 0.65
    assert regression.xauc_within_duration(watch_s, duration_s, duration_s) == pytest.approx(0.5)
    assert regression.xauc_within_duration(watch_s, watch_s, duration_s) == pytest.approx(1.0)


@given(st.integers(0, 100))
def test_the_weighted_user_loss_is_that_of_a_loop_over_pairs_of_a_page(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 25
    page = rng.integers(0, 6, n)
    user = page // 2
    is_watched, watch_s = rng.random(n) < 0.5, rng.integers(1, 50, n).astype(np.float64)
    score = rng.integers(0, 4, n) / 4
    wrong, every = np.zeros(3), np.zeros(3)
    for i in range(n):
        for j in range(n):
            if page[i] == page[j] and is_watched[i] and not is_watched[j]:
                every[user[i]] += watch_s[i]
                wrong[user[i]] += watch_s[i] * (
                    (score[i] < score[j]) + 0.5 * (score[i] == score[j])
                )
    got = regression.weighted_user_losses(watch_s, is_watched, score, page, user)
    for u, value in enumerate(got):
        assert math.isnan(value) if not every[u] else value == pytest.approx(wrong[u] / every[u])
