"""`upnext bench interests`: the query vectors that it compares and the figures that it prints, by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "retrieval"))
from retrieval_world import query_of

from upnext.cli.bench_interests import figures_of, history_makers, k_means
from upnext.core.randomness import rng_for
from upnext.core.types import Flag
from upnext.evaluate.user_items import UserItems
from upnext.features.vector_table import VectorTable
from upnext.retrieval.interests.config import InterestsConfig


def test_k_means_finds_the_weighted_means_of_groups_that_lie_apart():
    points = np.array([[0, 0], [0, 2], [9, 0], [9, 4], [0, 50]], np.float32)
    weight = np.array([1, 1, 3, 1, 1], np.float32)
    for seed in range(5):
        found = k_means(points, weight, 3, rng_for("test", seed))
        assert sorted(found.tolist()) == [[0, 1], [0, 50], [9, 1]]


def test_k_means_of_few_or_equal_points_is_those_points():
    points = np.array([[1, 0], [0, 1]], np.float32)
    ones = np.ones(2, np.float32)
    assert k_means(points, ones, 3, rng_for("test")).tolist() == points.tolist()
    same = np.repeat(points[:1], 8, axis=0)
    assert k_means(same, np.ones(8, np.float32), 3, rng_for("test")).tolist() == [[1, 0]]


def test_a_history_is_one_mean_its_last_video_centres_or_medoids():
    """Three likes along x, one along y: the mean is (3, 1) / sqrt(10), the last video lies along y."""
    table = VectorTable(np.array([[2, 0], [4, 0], [2, 0], [0, 5]], np.float32))
    flags = np.full(4, Flag.IMPRESSION | Flag.LIKE, np.uint16)
    makers = history_makers(InterestsConfig(n_queries=2, merge_cost=1.0, decay_per_d=0.0), table)
    query = query_of(items=[0, 1, 2, 3], flags=flags)
    found = {name: make(query) for name, make in makers.items()}
    mean, last, centres, top, sampled = found.values()
    assert mean == pytest.approx(np.array([[3, 1]]) / np.sqrt(10))
    assert last.tolist() == [[0, 1]]
    assert sorted(centres.tolist()) == [[0, 1], [1, 0]]
    assert top.tolist() == [[2, 0], [0, 5]]  # the most important first, as the table has them
    assert sorted(sampled.tolist()) == [[0, 5], [2, 0]]
    assert all(make(query_of()).shape == (0, 2) for make in makers.values())


def test_figures_are_recall_what_is_new_and_the_share_of_the_catalogue():
    """Two viewers, one truth each, ten videos: the first row finds one of two, the second both; half of each of its lists is new."""
    truth = UserItems.of_pairs(np.array([0, 1]), np.array([1, 4]), 2)
    lists = {
        "history: mean": np.array([[1, 2], [2, 3]]),
        "interests: top 3 medoids": np.array([[1, 5], [4, 2]]),
        "variational: mean": np.array([[7, -1], [8, -1]]),
    }
    rows = figures_of(lists, truth, 2, 10)
    first, second, third = rows.values()
    assert (first["recall@2"].mean, second["recall@2"].mean, third["recall@2"].mean) == (0.5, 1, 0)
    assert second["beside one vector"].mean == 0.5
    assert second["videos it lacks"].mean == 1
    assert set(first) == set(third) == {"recall@2", "coverage@2"}
    assert [row["coverage@2"].mean for row in rows.values()] == [0.3, 0.4, 0.2]
