"""Known answers for order and calibration, and Platt's line on a world where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.ranking.calibration import (
    auc,
    ece,
    group_auc,
    log_loss,
    pcoc,
    platt,
    sigmoid,
    spearman,
)


def test_auc_of_four_rows_by_hand() -> None:
    # positives score 3 and 1, negatives 2 and 1: pairs won 1, 1, 0, and one tie at half: 2.5 of 4
    score, label = np.array([3.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])
    assert auc(score, label) == pytest.approx(2.5 / 4)
    # a weight of 3 on the negative at 1: won 1 + 3 of positive 3, tie 3 * .5 of positive 1: 5.5 of 8
    assert auc(score, label, np.array([1, 1, 1, 3.0])) == pytest.approx(5.5 / 8)
    assert np.isnan(auc(score, np.ones(4)))


def test_group_auc_weighs_groups_with_both_classes_by_their_rows() -> None:
    score = np.array([1, 2, 3, 1, 2, 9.0])
    label = np.array([0, 1, 1, 1, 0, 1.0])
    group = np.array([7, 7, 7, 8, 8, 9])  # 1 over three rows, 0 over two rows, no pair
    assert group_auc(score, label, group) == pytest.approx(3 / 5)
    assert group_auc(np.array([1.0, 1, 1]), np.array([0.0, 1, 1]), np.zeros(3, int)) == 0.5


def test_platt_finds_the_line_that_the_logits_were_bent_by() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60_000)
    label = (rng.random(60_000) < sigmoid(truth)).astype(float)
    bent = (truth - 0.7) / 1.6  # so that a = 1.6 and b = .7 are right
    a, b = platt(bent, label, np.ones(60_000))
    assert a == pytest.approx(1.6, abs=0.05)  # 4 standard errors: 4 * about .011
    assert b == pytest.approx(0.7, abs=0.05)
    p, raw = sigmoid(a * bent + b), sigmoid(bent)
    assert pcoc(p, label, np.ones(60_000)) == pytest.approx(1, abs=1e-3)
    assert ece(p, label, np.ones(60_000)) < 0.01 < ece(raw, label, np.ones(60_000))
    assert log_loss(p, label, np.ones(60_000)) < log_loss(raw, label, np.ones(60_000))


def test_platt_counts_weights_as_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=900), (rng.random(900) < 0.4).astype(float)
    w = rng.integers(1, 4, 900)
    repeated = np.repeat(np.arange(900), w)
    alike = platt(x[repeated], y[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(platt(x, y, w), alike, rtol=1e-3)


@pytest.mark.parametrize("label", [np.zeros(80), np.ones(80)])
def test_platt_leaves_one_class_alone(label: np.ndarray) -> None:
    assert platt(np.linspace(-2, 2, 80), label, np.ones(80)) == (1.0, 0.0)


def test_few_positives_move_the_offset_only() -> None:
    label = np.zeros(500)
    label[:5] = 1
    a, b = platt(np.linspace(-1, 1, 500), label, np.ones(500))
    assert a == 1.0
    assert b < -3


def test_ece_of_two_buckets_by_hand() -> None:
    predicted = np.array([0.1, 0.1, 0.8, 0.8])
    outcome = np.array([0.0, 1.0, 1.0, 1.0])
    # buckets: mean .1 against .5, mean .8 against 1: (.4 + .2) / 2
    assert ece(predicted, outcome, np.ones(4), n_buckets=2) == pytest.approx(0.3)


def test_spearman_is_one_for_the_same_order_and_minus_one_for_the_opposite() -> None:
    x = np.array([1.0, 5.0, 2.0, 9.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    # ranks 1 2 3 4 against 1.5 1.5 3 4: covariance 4.5, variances 5 and 4.5
    assert spearman(np.array([1, 2, 3, 4]), np.array([1, 1, 3, 4])) == pytest.approx(
        0.9 * np.sqrt(5 / 4.5)
    )
