"""Steck's calibration by hand, and at its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.evaluate.category_calibration import ALPHA, miscalibration
from upnext.evaluate.user_items import UserItems

CATEGORY = np.array([0, 0, 0, 1, 1, 1, 2, -1])


def liked(*rows: list[int]) -> UserItems:
    user = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return UserItems.of_pairs(user, np.array([i for row in rows for i in row], np.int64), len(rows))


def test_the_divergence_comes_out_by_hand() -> None:
    # past: two of category 0, one of 1 -> p = (2/3, 1/3); list: one of 0, three of 1 -> q = (1/4, 3/4)
    got = miscalibration(np.array([[0, 3, 4, 5]]), 4, liked([1, 2, 3]), CATEGORY)
    smooth = [0.99 / 4 + 0.01 * 2 / 3, 0.99 * 3 / 4 + 0.01 / 3]
    want = 2 / 3 * math.log(2 / 3 / smooth[0]) + 1 / 3 * math.log(1 / 3 / smooth[1])
    assert got == pytest.approx([want], rel=1e-12)


def test_the_viewer_s_own_mix_costs_nothing_and_the_opposite_log_of_1_over_alpha() -> None:
    lists = np.array([[0, 3, -1, -1], [3, 4, 5, -1]])
    got = miscalibration(lists, 4, liked([1, 4], [0, 1]), CATEGORY)
    np.testing.assert_allclose(got, [0.0, math.log(1 / ALPHA)], atol=1e-12)


def test_only_the_first_k_count_and_unknown_categories_count_nowhere() -> None:
    lists = np.array([[0, 7, 3, 3], [7, 7, -1, -1], [0, 1, 2, 2], [-1, -1, -1, -1]])
    got = miscalibration(lists, 2, liked([0], [0], [7], [0]), CATEGORY)
    np.testing.assert_allclose(got, [0.0, math.nan, math.nan, math.nan], atol=1e-12)


def test_a_list_of_one_category_is_worse_than_random_for_a_viewer_of_many() -> None:
    rng = np.random.default_rng(0)
    category = rng.integers(0, 8, 400)
    past = UserItems.of_pairs(np.repeat(np.arange(300), 20), rng.integers(0, 400, 6000), 300)
    random = rng.integers(0, 400, (300, 10))
    narrow = rng.choice(np.flatnonzero(category == 3), (300, 10))
    even = miscalibration(random, 10, past, category).mean()
    assert even + 1 < miscalibration(narrow, 10, past, category).mean()


def test_blocks_change_nothing_and_no_categories_give_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    category, past = rng.integers(-1, 5, 40), liked(*([i, i + 9] for i in range(20)))
    lists = rng.integers(0, 40, (20, 6))
    whole = miscalibration(lists, 6, past, category)
    monkeypatch.setattr("upnext.evaluate.category_calibration._CELLS", 20)
    np.testing.assert_array_equal(miscalibration(lists, 6, past, category), whole)
    assert np.isnan(miscalibration(lists, 6, past, np.full(40, -1))).all()
