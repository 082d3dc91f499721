"""Random lists: uniform, without repeats, never seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate.diversity import catalogue_diversity, list_diversity
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.random_lists import random_lists
from upnext.evaluate.user_items import UserItems


@pytest.mark.parametrize("n_items", [60, 3_000])  # permuted whole, and drawn with rejection
def test_lists_hold_k_different_listable_videos_that_were_not_seen(n_items: int) -> None:
    rng = np.random.default_rng(0)
    seen = UserItems.of_pairs(rng.integers(0, 50, 400), rng.integers(0, n_items, 400), 50)
    is_listable = np.arange(n_items) % 5 != 0
    lists = random_lists(is_listable, seen, 20)(np.arange(50))
    assert (lists >= 0).all()
    assert is_listable[lists].all()
    assert all(len(set(row)) == 20 for row in lists.tolist())
    assert not seen.contains(np.repeat(np.arange(50), 20), lists.ravel()).any()
    np.testing.assert_array_equal(lists, random_lists(is_listable, seen, 20)(np.arange(50)))


@pytest.mark.parametrize("n_items", [50, 2_000])
def test_a_single_relevant_video_is_hit_k_times_in_n(n_items: int) -> None:
    n_users, k = 20_000, 10
    rng = np.random.default_rng(3)
    # a bad draw would favour low ids: all truths lie there
    truth = UserItems.of_pairs(np.arange(n_users), rng.integers(0, n_items // 5, n_users), n_users)
    lists = random_lists(np.ones(n_items, np.bool_), None, k)(np.arange(n_users))
    got = measure(Places.of(lists, truth), ["hr@10", "recall@10", "ndcg@10"])
    level = k / n_items
    error = math.sqrt(level * (1 - level) / n_users)
    assert abs(got["hr@10"].mean() - level) < 3 * error
    assert abs(got["recall@10"].mean() - level) < 3 * error
    ndcg = (1 / np.log2(np.arange(2, k + 2))).sum() / n_items
    assert abs(got["ndcg@10"].mean() - ndcg) < 3 * got["ndcg@10"].std() / math.sqrt(n_users)


def test_random_lists_have_the_catalogue_s_diversity() -> None:
    vectors = (np.random.default_rng(1).normal(size=(900, 6)) + 0.7).astype(np.float32)
    lists = random_lists(np.ones(900, np.bool_), None, 5)(np.arange(4000))
    values = list_diversity(lists, 5, vectors)
    assert abs(values.mean() - catalogue_diversity(vectors)) < 3 * values.std() / math.sqrt(4000)


def test_a_short_catalogue_pads_and_an_empty_one_is_refused() -> None:
    lists = random_lists(np.array([True, False, True]), None, 4)(np.arange(2))
    assert [sorted(row) for row in lists.tolist()] == [[-1, -1, 0, 2]] * 2
    with pytest.raises(InvalidInput, match="listable"):
        random_lists(np.zeros(3, np.bool_), None, 4)
