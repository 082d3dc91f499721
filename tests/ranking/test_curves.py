"""Quantile curves against the distribution they describe, and their three columns against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ranking_worlds import SMALL

from upnext.ranking.curves import LEAST_VALUES, N_POINTS, Curves
from upnext.ranking.ranker_network import RankerNetwork


def quantiles_of(rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """float32[m, 3]: quantile, square and root of the one column, as the network reads them."""
    curves = {"user": Curves.none(), "item": Curves.of(rows)}
    network = RankerNetwork(SMALL, ("like",), 0, 1, torch.Generator(), curves)
    inputs = network._inputs("item", torch.from_numpy(asked)).numpy()
    deviations, means = np.sqrt([1 / 12, 4 / 45, 1 / 18]), np.array([1 / 2, 1 / 3, 2 / 3])
    return np.asarray(inputs[:, 1:] * deviations + means)


@pytest.mark.parametrize("kind", ["normal", "exponential", "uniform"])
def test_quantiles_of_the_column_are_uniform(kind: str) -> None:
    rng = np.random.default_rng(0)
    rows = getattr(rng, kind)(size=(50_000, 1)).astype(np.float32)
    u = quantiles_of(rows, rows)
    far = np.abs(np.sort(u[:, 0]) - (np.arange(len(u)) + 0.5) / len(u))
    assert far.max() < 0.01  # Kolmogorov-Smirnov, beside U(0, 1)
    np.testing.assert_allclose(u[:, 1], u[:, 0] ** 2, atol=1e-5)
    np.testing.assert_allclose(u[:, 2], np.sqrt(np.maximum(u[:, 0], 1e-6)), atol=1e-5)


def test_quantiles_rise_and_stay_within_one_beyond_what_was_seen() -> None:
    rows = np.random.default_rng(1).normal(size=(5_000, 1)).astype(np.float32)
    asked = np.linspace(-9, 9, 301, dtype=np.float32)[:, None]
    u = quantiles_of(rows, asked)[:, 0]
    assert (np.diff(u) >= -1e-6).all()
    assert u.min() >= 0
    assert u.max() <= 1
    missing = quantiles_of(rows, np.array([[np.nan]], np.float32))[0]
    np.testing.assert_allclose(missing, [1 / 2, 1 / 3, 2 / 3], atol=1e-6)  # nothing said


def test_only_columns_of_many_known_values_have_a_curve() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(1_000, 5)).astype(np.float32)
    rows[:, 1] = rng.integers(0, LEAST_VALUES - 1, 1_000)
    rows[:, 2] = np.nan
    rows[:-5, 3] = np.nan
    rows[:, 4] = 0
    rows[:3, 4] = [1, 2, 3]
    curves = Curves.of(rows)
    assert curves.at.tolist() == [0]
    assert curves.share.shape == (1, N_POINTS)
    assert len(Curves.none()) == 0
