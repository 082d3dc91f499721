"""Standardised values against numpy, and where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.policy.standardised import standardised


@pytest.mark.parametrize("n", [1, 30, 50, 400])
def test_values_are_standardised_by_their_best_fifty(n: int) -> None:
    value = np.random.default_rng(n).normal(3, 2, n).astype(np.float32)
    best = np.sort(value.astype(np.float64))[-50:]
    expected = (value - best.mean()) / best.std() if n > 1 else np.zeros(1)
    np.testing.assert_allclose(standardised(value), expected, rtol=1e-12, atol=1e-14)


def test_where_the_best_fifty_are_equal_the_whole_request_gives_the_unit() -> None:
    # the best have mean 3; all, 3 and 1 fifty times each, have mean 2 and deviation 1
    value = np.repeat(np.array([1, 3], np.float32), 50)
    np.testing.assert_allclose(standardised(value), np.repeat([-2.0, 0.0], 50), rtol=1e-12)


def test_values_that_differ_by_rounding_alone_are_no_preference() -> None:
    assert standardised(np.full(60, 0.1, np.float32)).tolist() == [0.0] * 60
    assert standardised(np.zeros(0, np.float32)).tolist() == []


def test_the_order_of_the_values_changes_each_only_by_rounding() -> None:
    value = np.random.default_rng(0).normal(size=200).astype(np.float32)
    turned = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(standardised(value[turned]), standardised(value)[turned])
