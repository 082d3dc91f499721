"""Intervals over viewers: what they cover, and that they are paired, seeded and exact where a formula exists."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate.bootstrap import (
    bootstrap,
    interval,
    intervals,
    is_better,
    paired_difference,
    ratio,
    relative_difference,
    resample,
    user_rows,
)


def test_every_resample_draws_as_many_viewers_as_there_are() -> None:
    blocks = list(resample(2_000_000, n_resamples=2)) + list(resample(7, n_resamples=50))
    assert [len(b) for b in blocks] == [1, 1, 50]
    assert all((b.sum(1) == b.shape[1]).all() for b in blocks)


def test_draws_depend_on_seed_and_number_of_viewers_not_on_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = np.concatenate(list(resample(13, n_resamples=20, seed=1)))
    other = np.concatenate(list(resample(13, n_resamples=20, seed=2)))
    assert (whole != other).any()
    monkeypatch.setattr("upnext.evaluate.bootstrap._CELLS", 40)
    np.testing.assert_array_equal(np.concatenate(list(resample(13, n_resamples=20, seed=1))), whole)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_viewers() -> None:
    values = np.random.default_rng(0).exponential(2, 5000)
    got = interval(values, n_resamples=4000)
    half = 1.96 * values.std() / math.sqrt(5000)
    assert got.mean == pytest.approx(values.mean())
    assert got.low == pytest.approx(
        values.mean() - half, abs=0.15 * half
    )  # 4000 draws: 3 SE of a quantile
    assert got.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert got.n_effective == 5000


def test_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(400):
        got = interval(rng.exponential(1, 200), n_resamples=200, seed=seed)
        held += got.low <= 1.0 <= got.high
    assert (
        0.91 <= held / 400 <= 0.98
    )  # 3 SE of 400 trials, and a skewed mean of 200 covers a little less


def test_viewers_without_a_value_are_left_out() -> None:
    values = np.array([1.0, math.nan, 3.0, math.nan])
    assert interval(values).mean == 2.0
    assert interval(values).n_effective == 2
    both = intervals({"a": values, "b": np.array([math.nan, 5.0, 5.0, 5.0])})
    assert (both["a"].mean, both["a"].n_effective) == (2.0, 2)
    assert (both["b"].mean, both["b"].low, both["b"].high) == (5.0, 5.0, 5.0)


def test_nobody_gives_not_identifiable() -> None:
    for values in (np.zeros(0), np.array([math.nan])):
        got = interval(values)
        assert got.verdict == "not identifiable"
        assert math.isnan(got.mean)
        assert intervals({"a": values})["a"].verdict == "not identifiable"
    assert intervals({}) == {}


def test_pairing_finds_a_small_difference_that_two_intervals_hide() -> None:
    rng = np.random.default_rng(2)
    b = rng.random(500)
    a = b + 0.01 + rng.normal(0, 0.01, 500)
    difference = paired_difference(a, b)
    assert is_better(difference)
    assert not is_better(difference, higher_is_better=False)
    assert interval(a).low < interval(b).high  # must fail: unpaired, they overlap
    assert is_better(paired_difference(b, a), higher_is_better=False)


def test_two_equal_recommenders_are_called_different_5_times_in_100() -> None:
    rng = np.random.default_rng(3)
    called = 0
    for seed in range(400):
        values = rng.random((2, 150))
        difference = paired_difference(values[0], values[1], n_resamples=200, seed=seed)
        called += is_better(difference) or is_better(difference, higher_is_better=False)
    assert called / 400 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400) + 0.01


def test_a_ratio_weighs_viewers_by_their_denominator() -> None:
    got = ratio(np.array([1.0, 9.0]), np.array([1.0, 3.0]))
    assert got.mean == pytest.approx(10 / 4)
    assert (got.low, got.high) == (1.0, 3.0)
    assert ratio(np.ones(2), np.zeros(2)).verdict == "not identifiable"


def test_a_relative_difference_is_a_share_of_the_other_side() -> None:
    got = relative_difference(np.array([1.1, 2.2, math.nan]), np.array([1.0, 2.0, 7.0]))
    np.testing.assert_allclose((got.mean, got.low, got.high), 0.1)


def test_any_statistic_of_weighted_viewers_has_an_interval() -> None:
    values = np.arange(10.0)
    got = bootstrap(lambda w: np.sqrt((w @ values**2) / w.sum(1)), 10)
    assert got.mean == pytest.approx(math.sqrt(28.5))
    assert got.low < got.mean < got.high


def test_other_viewers_on_one_side_are_refused() -> None:
    with pytest.raises(InvalidInput, match="3 viewers"):
        paired_difference(np.zeros(3), np.zeros(2))


def test_user_rows_number_any_keys() -> None:
    rows, n_users = user_rows(np.array(["b", "a", "b"]))
    assert (rows.tolist(), n_users) == ([1, 0, 1], 2)
