"""The value model, the popularity ranker and the rows' checks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.types import Features, Predictions, Query, Request, User
from upnext.ranking.config import DEFAULT_WEIGHTS, RankingConfig
from upnext.ranking.popularity_ranker import PopularityRanker
from upnext.ranking.rows import RankerRows
from upnext.ranking.tasks import TASKS, kind_of
from upnext.ranking.value import contributions, value_of

QUERY = Query(Request("r", "u", "home", 3, 0), User("u"))


def test_value_is_weights_times_probabilities_and_log_seconds() -> None:
    predictions = Predictions(
        ("relevant", "watch_s", "skip"),
        np.array([[0.2, 0, 0.5], [0.1, 600, 0], [0, 9_999, 1]], np.float32),
    )
    weights = {"relevant": 2.0, "watch_s": 0.5, "skip": -0.1, "share": 7.0}
    got = value_of(QUERY, predictions, weights)
    # .4 - .05; .2 + .5 * log(601) / log(601); .5 - .1
    np.testing.assert_allclose(got, [0.35, 0.7, 0.4], rtol=1e-6)
    assert got.dtype == np.float32
    parts = contributions(predictions.tasks, predictions.values, weights)
    assert set(parts) == {"relevant", "watch_s", "skip"}
    np.testing.assert_allclose(sum(parts.values()), got, rtol=1e-6)


def test_ten_seconds_against_five_count_like_a_hundred_against_fifty() -> None:
    seconds = np.array([[5], [10], [50], [100]], np.float32) - 0  # log1p, so only nearly
    parts = contributions(("watch_s",), seconds, {"watch_s": 1.0})["watch_s"]
    assert parts[1] - parts[0] == pytest.approx(parts[3] - parts[2], rel=0.13)


def test_no_candidates_have_no_values() -> None:
    assert value_of(
        QUERY, Predictions(("like",), np.zeros((0, 1), np.float32)), {"like": 1}
    ).shape == (0,)


def test_default_weights_name_real_tasks() -> None:
    assert set(DEFAULT_WEIGHTS) <= set(TASKS)
    assert kind_of("watch_s") == "seconds"
    assert kind_of("relevant") == "binary"
    assert RankingConfig() == RankingConfig()


def test_popularity_ranker_gives_the_rate_column_as_relevant() -> None:
    features = Features(
        np.zeros(1, np.float32),
        np.array([[3, 0.5], [4, np.nan], [5, 1.5]], np.float32),
        ("bias",),
        ("age", "rate_relevant_7d"),
    )
    predictions = PopularityRanker().predict(features)
    assert predictions.tasks == ("relevant",)
    np.testing.assert_allclose(predictions.values, [[0.5], [0], [1]])
    with pytest.raises(InvalidInput, match="'plays'"):
        PopularityRanker("plays").predict(features)


def test_rows_that_do_not_align_are_refused_by_name() -> None:
    m = 4
    good = {
        "user": np.zeros((m, 2), np.float32),
        "items": np.zeros((m, 3), np.float32),
        "labels": {"like": np.zeros(m, np.float32)},
        "weight": np.ones(m, np.float32),
        "group": np.zeros(m, np.int64),
        "time_us": np.zeros(m, np.int64),
        "user_names": ("a", "b"),
        "item_names": ("c", "d", "e"),
    }
    assert len(RankerRows(**good).take(np.array([True, False, True, True]))) == 3
    with pytest.raises(InvalidInput, match="label 'like'"):
        RankerRows(**{**good, "labels": {"like": np.zeros(3, np.float32)}})
    with pytest.raises(InvalidInput, match="column names"):
        RankerRows(**{**good, "user_names": ("a",)})
