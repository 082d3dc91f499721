"""The merge's weights and tables: known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_world import NOW_US, Hydrated, request

from upnext.core.errors import InvalidInput
from upnext.core.types import Candidates, History
from upnext.features.counters import CounterTable
from upnext.features.vector_table import VectorTable
from upnext.learn.blend import fit_mixing
from upnext.pipeline.blend import COLUMNS, Blend, best_blended
from upnext.pipeline.mixing import Mixing

QUERY = Hydrated().hydrate(request())


def fitted(rows: np.ndarray, label: np.ndarray, request: np.ndarray) -> dict[str, float]:
    """The weights of requests of one surface."""
    only = np.zeros(len(label), np.int64)
    columns = rows.astype(np.float32), label, request
    mixing = fit_mixing(columns, only, COLUMNS, ("home",), ridge=1e-5)
    assert mixing.surfaces == {}  # it has all requests
    return dict(mixing.weights)


def test_planted_weights_of_choices_are_found_whatever_a_request_adds_to_all_its_rows() -> None:
    rng = np.random.default_rng(3)
    planted = np.array([4.0, 0.5, -0.7, 0.6, 0.3, 0.0, 0.2, 1.0, -0.4, 0.1, 0.5])
    n, k = 8_000, 10
    rows = rng.normal(0, 1, (n, k, len(COLUMNS))) + 3 * rng.normal(0, 1, (n, 1, len(COLUMNS)))
    score = rows @ planted + rng.gumbel(size=(n, k))  # the largest is a draw of the softmax
    label = (score == score.max(axis=1, keepdims=True)).astype(np.float32)
    label[:50] = 0  # requests in which nothing was relevant say nothing
    request = np.repeat(np.arange(n), k)
    found = fitted(rows.reshape(-1, len(COLUMNS)), label.ravel(), request)
    # the standard error of each weight is about .03 here; the penalty pulls a little
    assert list(found.values()) == pytest.approx(planted.tolist(), abs=0.15)


def test_a_request_with_two_relevant_videos_counts_like_one_with_one() -> None:
    rows = np.zeros((5, len(COLUMNS)), np.float32)
    rows[:, 2] = [1, 0, 0, 0, 1]  # the first request speaks for the column, the second against it
    label = np.array([1, 0, 1, 1, 0], np.float32)
    request = np.array([0, 0, 1, 1, 1])
    many = (np.arange(500)[:, None] * 2 + request).ravel()
    found = fitted(np.tile(rows, (500, 1)), np.tile(label, 500), many)
    # d/dw: 1 / (1 + e^w) = e^w / (2 + e^w)
    assert found[COLUMNS[2]] == pytest.approx(np.log(2) / 2, abs=2e-3)


def test_a_column_that_never_varies_weighs_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((500, len(COLUMNS)), np.float32)
    rows[:, 3] = rng.normal(0, 1, 500)
    rows[:, 5] = 7
    label = (rows[:, 3] > 0.3).astype(np.float32)
    found = fitted(rows, label, np.repeat(np.arange(50), 10))
    assert [name for name, weight in found.items() if weight] == [COLUMNS[3]]
    assert found[COLUMNS[3]] > 0


def test_the_merge_scores_by_its_weights() -> None:
    counters = CounterTable()
    counters.add(4, "relevant", 3.0, NOW_US)
    counters.add(4, "impressions", 10.0, NOW_US)
    near = np.array([0.5, np.nan, 2.0], np.float32)
    similar = np.array([np.nan, 0.5, 0.25], np.float32)
    columns = {"source:item_to_item": near, "source:user_knn": similar}
    candidates = Candidates(np.array([9, 4, 2]), columns)
    weights = {"item_to_item": 2.0, "user_knn": 4.0, "log_relevant_1d": 1.0, "rate_7d": 10.0}
    blend = Blend(counters, Mixing(weights))
    found = blend.scored(QUERY, candidates, "home").columns
    prior = 10 * 6 / 20  # (relevant + 6) / (impressions + 20)
    wanted = [1.0 + prior, 2.0 + np.log(4.0) + 10 * 9 / 30, 1.0 + 4.0 + prior]
    assert found["blend"].tolist() == pytest.approx(wanted, rel=1e-5)
    assert found["tower"].tolist() == [0, 0, 0]
    assert blend.columns(QUERY, Candidates(np.zeros(0, np.int64))).shape == (0, len(COLUMNS))


def test_the_tower_column_is_the_cosine_and_the_cheap_merge_goes_without() -> None:
    class East:
        def vector(self, query: object) -> np.ndarray:
            return np.array([1.0, 0.0], np.float32)

    table = VectorTable(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    blend = Blend(CounterTable(), Mixing({"tower": 3.0}), East(), table)
    candidates = Candidates(np.array([2, 0, 1, 77]))
    scored = blend.scored(QUERY, candidates, "home")
    assert scored.columns["blend"].tolist() == pytest.approx([1.8, 3.0, 0.0, 0.0])
    cheap = blend.scored(QUERY, candidates, "home", with_tower=False)
    assert cheap.columns["tower"].tolist() == [0, 0, 0, 0]


def test_the_new_columns_fade_with_what_is_known_of_the_viewer() -> None:
    class One:
        def vector(self, query: object) -> np.ndarray:
            return np.ones(1, np.float32)

    counters = CounterTable()
    counters.add(1, "relevant", 3.0, NOW_US)
    blend = Blend(counters, Mixing({}), One(), VectorTable(np.full((2, 1), 0.8, np.float32)))
    three = np.arange(3)
    history = History(three, three, three.astype(np.float32), three.astype(np.uint16))
    met = replace(QUERY, user=replace(QUERY.user, history=history))
    place = [COLUMNS.index(name) for name in ("new:tower", "new:log_relevant_total")]
    for query, newness in ((QUERY, 1), (met, 1 / 4)):
        row = blend.columns(query, Candidates(np.array([1])))[0, place]
        assert row.tolist() == pytest.approx([0.8 * newness, np.log(4) * newness])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=25), st.integers(1, 30))
def test_the_best_are_kept_in_the_order_they_came(scores: list[int], n: int) -> None:
    ids = np.random.default_rng(len(scores)).permutation(len(scores)).astype(np.int64)
    candidates = Candidates(ids, {"blend": np.array(scores, np.float32)})
    kept = best_blended(candidates, n)
    best = sorted(zip([-s for s in scores], ids.tolist()))[:n]
    assert kept.item_id.tolist() == [i for i in ids.tolist() if i in {item for _, item in best}]


def test_vectors_of_later_videos_join_the_table_and_unknown_ones_are_zero() -> None:
    base = np.arange(6, dtype=np.float32).reshape(3, 2)
    table = VectorTable(base.copy())
    assert table.rows(np.array([2, 0])).tolist() == [[4, 5], [0, 1]]
    assert table.rows(np.array([1, 8])).tolist() == [[2, 3], [0, 0]]
    table.put(np.array([1, 5]), np.array([[9, 9], [7, 8]], np.float32))
    assert table.rows(np.array([5, 4, 3, 1, 0, 600])).tolist() == [
        [7, 8], [0, 0], [0, 0], [9, 9], [0, 1], [0, 0],
    ]  # fmt: skip
    table.put(np.array([3]), np.array([[1, 1]], np.float32))
    assert table.rows(np.array([3, 5])).tolist() == [[1, 1], [7, 8]]
    assert table.rows(np.zeros(0, np.int64)).shape == (0, 2)
    with pytest.raises(InvalidInput):
        table.put(np.array([1]), np.zeros((2, 2), np.float32))


def test_putting_vectors_leaves_the_release_file_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((3, 2), np.float32))
    table = VectorTable(np.load(tmp_path / "v.npy", mmap_mode="c"))
    table.put(np.array([1]), np.zeros((1, 2), np.float32))
    assert table.rows(np.array([1])).tolist() == [[0, 0]]
    assert np.load(tmp_path / "v.npy").tolist() == [[1, 1]] * 3
