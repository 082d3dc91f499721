"""Coverage, Gini and how alike a list's videos are, against sums over pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.evaluate.diversity import (
    catalogue_diversity,
    category_diversity,
    concentration,
    coverage,
    gini,
    list_diversity,
    novelty,
    popularity_lift,
)
from upnext.evaluate.user_items import UserItems


def test_coverage_counts_listed_videos_among_the_first_k_only() -> None:
    covered, _ = concentration(np.array([[0, 1, 5], [0, 2, -1]]), 2, 10)
    assert covered.mean == pytest.approx(0.3)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(sum), st.integers(0, 9))
def test_gini_is_the_mean_difference_over_all_pairs_zeros_included(
    counts: list[int], more: int
) -> None:
    x = np.array(counts + [0] * more, np.float64)
    naive = np.abs(x[:, None] - x[None]).sum() / (2 * len(x) ** 2 * x.mean())
    assert gini(np.array(counts), len(x)) == pytest.approx(naive, abs=1e-12)


def test_gini_is_0_for_equal_and_1_less_1_over_n_for_one_winner() -> None:
    assert gini(np.full(8, 3), 8) == pytest.approx(0.0)
    assert gini(np.array([100]), 8) == pytest.approx(1 - 1 / 8)
    assert math.isnan(gini(np.zeros(4), 4))


@given(st.integers(0, 200))
def test_list_diversity_is_1_less_the_mean_cosine_of_every_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    vectors[3] = 0
    ranked = np.stack([rng.permutation(12)[:6] for _ in range(4)])
    ranked[1, 3:] = -1
    ranked[2, 1:] = -1
    got = list_diversity(ranked, 5, vectors)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / size) if size else 0.0

    for row, value in zip(ranked, got, strict=True):
        pairs = list(itertools.combinations([i for i in row[:5] if i >= 0], 2))
        if not pairs:
            assert math.isnan(value)
            continue
        assert value == pytest.approx(
            1 - np.mean([cosine(vectors[i], vectors[j]) for i, j in pairs]), abs=1e-5
        )


def test_blocks_do_not_change_list_diversity(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors, ranked = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 30, (11, 6))
    whole = list_diversity(ranked, 6, vectors)
    monkeypatch.setattr("upnext.evaluate.diversity._CELLS", 50)
    np.testing.assert_array_equal(list_diversity(ranked, 6, vectors), whole)


def test_random_lists_have_the_catalogue_s_diversity() -> None:
    rng = np.random.default_rng(1)
    vectors = (rng.normal(size=(40, 6)) + 0.7).astype(np.float32)
    ranked = rng.permuted(np.tile(np.arange(40), (4000, 1)), axis=1)[:, :5]
    values = list_diversity(ranked, 5, vectors)
    assert abs(values.mean() - catalogue_diversity(vectors)) < 3 * values.std() / math.sqrt(4000)


def test_category_diversity_is_the_share_of_unlike_pairs_of_known_categories() -> None:
    category = np.array([0, 0, 0, 1, 2, -1])
    lists = np.array([[0, 1, 3, 5], [0, 1, 2, -1], [3, 4, 0, -1], [5, 0, -1, -1]])
    # 0 0 1 ?: pairs (0,0) (0,1) (0,1) -> 2/3; all alike -> 0; all unlike -> 1; one known -> NaN
    np.testing.assert_allclose(category_diversity(lists, 4, category), [2 / 3, 0, 1, math.nan])


def test_popularity_lift_and_novelty_come_out_by_hand() -> None:
    popularity = np.array([0, 1, 3])
    truth = UserItems.of_pairs(np.array([0, 1]), np.array([1, 2]), 3)
    lists = np.array([[2, 1], [0, -1], [0, 1]])
    lift = popularity_lift(lists, 2, truth, popularity)
    np.testing.assert_allclose(
        lift, [math.log(4) / 2 + math.log(2) / 2 - math.log(2), -math.log(4), math.nan]
    )
    # p = (count + 1) / (4 + 3): 1/7, 2/7, 4/7
    bits = [-math.log2(1 / 7), -math.log2(2 / 7), -math.log2(4 / 7)]
    np.testing.assert_allclose(
        novelty(lists, 2, popularity), [(bits[2] + bits[1]) / 2, bits[0], (bits[0] + bits[1]) / 2]
    )


def test_concentration_s_figures_are_those_of_all_viewers_inside_their_intervals() -> None:
    rng = np.random.default_rng(2)
    lists = np.minimum(rng.geometric(0.05, (300, 4)) - 1, 99)
    counts = np.bincount(lists[:, :3].ravel(), minlength=100)
    covered, unequal = concentration(lists, 3, 100)
    assert covered.mean == pytest.approx(coverage(counts, 100))
    assert unequal.mean == pytest.approx(gini(counts, 100))
    assert covered.low < covered.mean <= covered.high
    assert unequal.low <= unequal.mean <= unequal.high
